// The panel on every Train node, and on the outer node of a subgraph that has one inside.
import { app } from "./comfy.js";
import { TrainPanel } from "./train_panel.js";
import { changed, listen, take, trainingOf } from "./trainings.js";

const NODE = "LoraLoopTrain";
const WIDGET = "LORA_LOOP_TRAINING"; // a type of our own: the frontend has components for common names
const NAME = "training";
const MARGIN = 4;
const HEIGHT = 320 + 2 * MARGIN; // as in train_panel.css

const panels = new WeakMap(); // node -> its panel
let frame = 0;

// [id, node] of all Train nodes; "2:1" is node 1 of the subgraph in node 2.
function* trainNodes(graph, prefix = "") {
  for (const node of graph?.nodes ?? []) {
    const id = `${prefix}${node.id}`;
    if (node.comfyClass === NODE) yield [id, node];
    if (node.subgraph) yield* trainNodes(node.subgraph, `${id}:`);
  }
}

// [node, ids]: all nodes that show a panel, with the ids of the Train nodes that it is about.
function* shownOn(graph, prefix = "") {
  for (const node of graph?.nodes ?? []) {
    const id = `${prefix}${node.id}`;
    if (node.comfyClass === NODE) yield [node, [id]];
    if (!node.subgraph) continue;
    const inside = [...trainNodes(node.subgraph, `${id}:`)].map(([inner]) => inner);
    if (inside.length) yield [node, inside];
    yield* shownOn(node.subgraph, `${id}:`);
  }
}

function mount(node) {
  const panel = new TrainPanel();
  const fixed = () => HEIGHT;
  const widget = node.addDOMWidget(NAME, WIDGET, panel.element, {
    serialize: false, // not in the prompt
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: fixed,
    getMaxHeight: fixed,
    getHeight: fixed,
  });
  widget.serialize = false; // nor in the saved workflow
  const removed = widget.onRemove;
  widget.onRemove = function () {
    removed?.apply(this, arguments);
    panel.destroy();
    panels.delete(node);
  };
  panels.set(node, panel);
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
  return panel;
}

function draw() {
  frame = 0;
  for (const [node, ids] of shownOn(app.rootGraph)) {
    const panel = panels.get(node) ?? mount(node);
    const trainings = ids.map(trainingOf).filter(Boolean);
    panel.show(trainings.at(-1) ?? null);
  }
}

function redraw() {
  if (!frame) frame = requestAnimationFrame(draw);
}

// What a finished Train leaves in the outputs of the graph: shown where the server knows no more of it.
function takeResult(id, output) {
  const result = output?.lora_loop?.[0];
  if (!result?.run || trainingOf(id)?.run === result.run) return;
  const line = (output.text ?? []).join(" ");
  take(id, line, { workflow: app.rootGraph.id, run: result.run, state: "ended", result });
  redraw();
}

// Outputs lie under "1", or under "<id of the subgraph>:1" for a node inside.
function takeResults(outputs) {
  for (const [id, node] of trainNodes(app.rootGraph)) {
    const home = node.graph === app.rootGraph ? "" : `${node.graph.id}:`;
    takeResult(id, outputs?.[`${home}${node.id}`]);
  }
}

app.registerExtension({
  name: "LoraLoop.Train",
  async setup() {
    changed.addEventListener("change", redraw);
    await listen();
  },
  nodeCreated(node) {
    if (node.comfyClass === NODE) {
      mount(node);
      const before = node.onExecuted;
      node.onExecuted = function (output) {
        before?.apply(this, arguments);
        for (const [id, other] of trainNodes(app.rootGraph)) if (other === this) takeResult(id, output);
      };
    }
    setTimeout(redraw); // it has its id then, and its place in the graph
  },
  afterConfigureGraph: redraw,
  onNodeOutputsUpdated: takeResults,
});
