// "Stop and keep": a button on the Train node, there while it trains.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

const NODE = "LoraLoopTrain";
const WIDGET = "LORA_LOOP_STOP"; // a type of our own: the frontend has components for common names
const OFFER = "Stop and keep";
const ASKED = "Stopping after this step…";
const HEIGHT = 32;
const MARGIN = 4;

let training = new Set(); // ids of the nodes that train; "2:1" is node 1 of the subgraph in node 2

function* trainNodes(graph, prefix = "") {
  for (const node of graph?.nodes ?? []) {
    const id = `${prefix}${node.id}`;
    if (node.comfyClass === NODE) yield [id, node];
    if (node.subgraph) yield* trainNodes(node.subgraph, `${id}:`);
  }
}

function stopButton(id) {
  const button = document.createElement("button");
  button.textContent = OFFER;
  button.title = "End the training after this step; what it has reached comes out.";
  button.style.cssText =
    "width:100%;height:100%;min-height:24px;cursor:pointer;border-radius:6px;" +
    "border:1px solid var(--border-color,#4e4e4e);" +
    "background:var(--comfy-input-bg,#222);color:var(--input-text,#ddd)";
  button.addEventListener("click", async () => {
    button.disabled = true;
    button.textContent = ASKED;
    const answer = await api.fetchApi("/lora_loop/stop", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ node: id }),
    });
    if (!answer.ok) {
      button.disabled = false;
      button.textContent = OFFER;
    }
  });
  return button;
}

function addButton(node, id) {
  const fixed = () => HEIGHT;
  const widget = node.addDOMWidget("stop_and_keep", WIDGET, stopButton(id), {
    serialize: false, // not in the prompt
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: fixed,
    getMaxHeight: fixed,
    getHeight: fixed,
  });
  widget.serialize = false; // nor in the saved workflow
}

function removeButton(node, widget) {
  widget.onRemove?.();
  node.widgets.splice(node.widgets.indexOf(widget), 1);
}

function refresh() {
  for (const [id, node] of trainNodes(app.rootGraph ?? app.graph)) {
    const widget = node.widgets?.find((candidate) => candidate.type === WIDGET);
    if (training.has(id) && !widget) addButton(node, id);
    if (!training.has(id) && widget) removeButton(node, widget);
    node.setDirtyCanvas?.(true, true);
  }
}

function update({ nodes }) {
  training = new Set(nodes);
  refresh();
}

app.registerExtension({
  name: "LoraLoop.StopAndKeep",
  async setup() {
    api.addEventListener("lora_loop.training", ({ detail }) => update(detail));
    const answer = await api.fetchApi("/lora_loop/training"); // the page may come in the middle of it
    if (answer.ok) update(await answer.json());
  },
  afterConfigureGraph: refresh,
});
