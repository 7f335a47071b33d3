// What a node last said, on the node: its progress, then its report. The place is there from the start, so that
// no node grows in front of its neighbours.
import { addElement, allNodes, api, app } from "./comfy.js";
import { element, ownKeys, stylesheet } from "./dom.js";

const EVENT = "lora_loop.node";
const WIDGET = "LORA_LOOP_LINE";
const NAME = "said";
const LINES = 2;
const LINES_OF = {
  LoraLoopRuns: 10,
  LoraLoopImportKohyaConfig: 6,
  LoraLoopCurateDataset: 4,
  LoraLoopCompareLoras: 8,
  LoraLoopDatasetReport: 6,
  LoraLoopScoreLora: 4,
  LoraLoopScorePreviews: 8,
  LoraLoopSweepReport: 6,
};
const LINE_HEIGHT = 15;
const PADDING = 4;

// Nodes whose outputs are settings or parts of others say nothing.
const SAYING = new Set(
  [
    "CacheLatents", "ChooseWeights", "ClearCache", "CompareLoras", "CurateDataset", "DatasetFromImages",
    "DatasetReport", "DetectMonochrome", "ExportDataset", "ExportPeft", "ExtractLora", "FilterTags",
    "FindLearningRate", "IdentityTags", "ImportKohyaConfig", "LoadDataset", "MakeClassImages", "MergeDatasets",
    "MergeLoras", "ResizeLora", "Runs", "SaveCaptions", "SaveEmbedding", "SaveLora", "ScaleBlocks", "ScoreLora",
    "ScorePreviews", "SetCaptions", "SetMasks", "Sweep", "SweepReport", "Tag", "TidyDataset", "TrainSlider",
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
  addElement(node, NAME, WIDGET, box, inner);
  boxes.set(node, box);
}

function say(node, text) {
  const box = boxes.get(node);
  if (box && text) box.textContent = text;
}

app.registerExtension({
  name: "LoraLoop.Lines",
  setup() {
    api.addEventListener(EVENT, ({ detail: { node, workflow, line } }) => {
      if (workflow != null && workflow !== app.rootGraph?.id) return;
      for (const one of allNodes()) if (one.id === node) say(one.node, line);
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
  // Outputs come back with a graph.
  onNodeOutputsUpdated(outputs) {
    for (const { key, node } of allNodes()) say(node, outputs?.[key]?.text?.join?.("\n"));
  },
});
