// The panel on every Train node, and on the outer node of a subgraph that has one inside.
import { addElement, allNodes, allowElements, app, showsElements } from "./comfy.js";
import { TrainPanel } from "./train_panel.js";
import { changed, listen, take, trainingOf } from "./trainings.js";

const NODE = "LoraLoopTrain";
const WIDGET = "LORA_LOOP_TRAINING";
const NAME = "training";
const HEIGHT = 320; // as in train_panel.css

const SETTLED = 500; // ms after which ComfyUI has made the widgets of a new subgraph's node
const panels = new WeakMap(); // node -> its panel and the widget that holds it
let frame = 0;

const inside = (outer, id) => id === outer || id.startsWith(`${outer}:`);

function mount(node) {
  panels.get(node)?.panel.destroy(); // ComfyUI has made the node's widgets again, without it
  const panel = new TrainPanel();
  const widget = addElement(node, NAME, WIDGET, panel.element, HEIGHT);
  const removed = widget.onRemove;
  widget.onRemove = function () {
    removed?.apply(this, arguments);
    panel.destroy();
    if (panels.get(node)?.panel === panel) panels.delete(node);
  };
  panels.set(node, { panel, widget });
  return panel;
}

// The node's panel, below all its inputs and buttons.
function panelOf(node) {
  const { panel, widget } = panels.get(node) ?? {};
  if (!panel || !node.widgets?.includes(widget)) return mount(node);
  if (node.widgets.at(-1) !== widget && !node.subgraph)
    node.widgets.push(...node.widgets.splice(node.widgets.indexOf(widget), 1));
  return panel;
}

// Every Train node shows its own training, every subgraph that of a Train node inside of it.
function draw() {
  frame = 0;
  const all = [...allNodes()];
  const ids = all.filter(({ node }) => node.comfyClass === NODE).map(({ id }) => id);
  for (const { id, node } of all) {
    const own = ids.filter((train) => inside(id, train));
    if (!own.length || !showsElements(node)) continue;
    panelOf(node).show(own.map(trainingOf).filter(Boolean).at(-1) ?? null);
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

function takeResults(outputs) {
  for (const { id, key, node } of allNodes()) if (node.comfyClass === NODE) takeResult(id, outputs?.[key]);
}

app.registerExtension({
  name: "LoraLoop.Train",
  async setup() {
    changed.addEventListener("change", redraw);
    await listen();
  },
  nodeCreated(node) {
    allowElements(node);
    if (node.comfyClass === NODE) {
      mount(node);
      const before = node.onExecuted;
      node.onExecuted = function (output) {
        before?.apply(this, arguments);
        for (const { id, node: other } of allNodes()) if (other === this) takeResult(id, output);
      };
    }
    setTimeout(redraw); // it has its id then, and its place in the graph
    if (node.comfyClass === NODE) setTimeout(redraw, SETTLED);
  },
  afterConfigureGraph: redraw,
  onNodeOutputsUpdated: takeResults,
});
