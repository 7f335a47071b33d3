// What a node last said, on the node: its progress, then its report. The place is there from the start, so that
// no node grows in front of its neighbours.
import { api, app } from "./comfy.js";
import { element, ownKeys, stylesheet } from "./dom.js";

const EVENT = "lora_loop.node";
const WIDGET = "LORA_LOOP_LINE"; // a type of our own: the frontend has components for common names
const NAME = "said";
const MARGIN = 4;
const LINES = 2;
const LINES_OF = { LoraLoopRuns: 10, LoraLoopImportKohyaConfig: 6, LoraLoopCurateDataset: 4 };
const LINE_HEIGHT = 15;
const PADDING = 4;

// Nodes whose outputs are settings or parts of others say nothing.
const SAYING = new Set(
  [
    "CacheLatents", "ClearCache", "CurateDataset", "DatasetFromImages", "DetectMonochrome", "ExportDataset",
    "FilterTags", "IdentityTags", "ImportKohyaConfig", "LoadDataset", "MergeDatasets", "Runs", "SaveCaptions",
    "SaveLora", "Tag", "TidyDataset",
  ].map((name) => `LoraLoop${name}`),
); // prettier-ignore

stylesheet(new URL("./lines.css", import.meta.url));

const boxes = new WeakMap(); // node -> the element with its lines

function mount(node) {
  const inner = (LINES_OF[node.comfyClass] ?? LINES) * LINE_HEIGHT + 2 * PADDING;
  const box = element(null, "div", { className: "lora-loop-line", tabIndex: 0 });
  box.dataset.captureWheel = "true";
  box.style.minHeight = box.style.maxHeight = `${inner}px`;
  ownKeys(box);
  const fixed = () => inner + 2 * MARGIN;
  const widget = node.addDOMWidget(NAME, WIDGET, box, {
    serialize: false, // not in the prompt
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: fixed,
    getMaxHeight: fixed,
    getHeight: fixed,
  });
  widget.serialize = false; // nor in the saved workflow
  boxes.set(node, box);
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
}

function say(node, text) {
  const box = boxes.get(node);
  if (box && text) box.textContent = text;
}

// The node that an event names: "2:1" is node 1 of the subgraph in node 2.
function nodeAt(id) {
  let graph = app.rootGraph;
  let node = null;
  for (const part of String(id).split(":")) {
    node = graph?.getNodeById(Number(part));
    graph = node?.subgraph;
  }
  return node;
}

app.registerExtension({
  name: "LoraLoop.Lines",
  setup() {
    api.addEventListener(EVENT, ({ detail: { node, workflow, line } }) => {
      if (workflow == null || workflow === app.rootGraph?.id) say(nodeAt(node), line);
    });
  },
  nodeCreated(node) {
    if (!SAYING.has(node.comfyClass)) return;
    mount(node);
    const before = node.onExecuted;
    node.onExecuted = function (output) {
      before?.apply(this, arguments);
      say(this, output?.text?.join("\n"));
    };
  },
  // Outputs come back with a graph: under "1", or under "<id of the subgraph>:1" for a node inside.
  onNodeOutputsUpdated(outputs) {
    const visit = (graph, home) => {
      for (const node of graph?.nodes ?? []) {
        say(node, outputs?.[`${home}${node.id}`]?.text?.join?.("\n"));
        if (node.subgraph) visit(node.subgraph, `${node.subgraph.id}:`);
      }
    };
    visit(app.rootGraph, "");
  },
});
