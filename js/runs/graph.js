// The settings of a run put into the open graph: into Train and its settings nodes, as one step of undo.
import { app } from "../comfy.js";

const TRAIN = "LoraLoopTrain";
const BESIDE = 60; // px between Train and a settings node that is added
const BETWEEN = 40;

function* nodesBelow(graph) {
  for (const node of graph?.nodes ?? []) {
    yield node;
    if (node.subgraph) yield* nodesBelow(node.subgraph);
  }
}

// The Train that is selected, or the first one that is seen, or the first one at all.
function findTrain() {
  const isTrain = (node) => node.comfyClass === TRAIN;
  const found =
    Object.values(app.canvas.selected_nodes ?? {}).find(isTrain) ??
    app.canvas.graph?.nodes.find(isTrain) ??
    [...nodesBelow(app.rootGraph ?? app.graph)].find(isTrain);
  if (!found)
    throw new Error("There is no Train node in this workflow: add one, or open a template.");
  return found;
}

function disconnect(node, name, told) {
  const slot = node.findInputSlot(name);
  if (slot < 0 || !node.isInputConnected(slot)) return;
  node.disconnectInput(slot);
  told.push(`${name} of ${node.title} is disconnected`);
}

function fill(node, values, told) {
  for (const [name, value] of Object.entries(values)) {
    const widget = node.widgets?.find((candidate) => candidate.name === name);
    if (!widget) continue;
    disconnect(node, name, told);
    widget.value = value;
    widget.callback?.(value, app.canvas, node);
  }
  node.setDirtyCanvas(true, true);
}

// Below what stands there already, left of Train.
function placeBeside(node, train) {
  const graph = train.graph;
  const x = train.pos[0] - node.size[0] - BESIDE;
  let y = train.pos[1];
  const crosses = (other) =>
    other !== node &&
    other.pos[0] < x + node.size[0] &&
    other.pos[0] + other.size[0] > x &&
    other.pos[1] - BETWEEN < y + node.size[1] &&
    other.pos[1] + other.size[1] + BETWEEN > y;
  for (let other; (other = graph.nodes.find(crosses)); )
    y = other.pos[1] + other.size[1] + BETWEEN * 2;
  node.pos = [x, y];
}

// The settings node of a section; it is added where the section needs one that is not there.
function settingsNode(train, { input, node: type, usual }, told) {
  const slot = train.findInputSlot(input);
  const origin = train.isInputConnected(slot) ? train.getInputNode(slot) : null;
  if (origin?.comfyClass === type) return origin;
  if (origin) disconnect(train, input, told);
  if (usual) return null;
  const made = LiteGraph.createNode(type);
  placeBeside(made, train);
  train.graph.add(made);
  made.connect(0, train, slot);
  told.push(`${made.title} is added`);
  return made;
}

// Into its node or, where there is none, into the widgets of Train that stand for it.
function fillSection(train, section, told) {
  const node = settingsNode(train, section, told);
  if (node) fill(node, section.widgets, told);
  fill(train, node ? section.unset : section.own, told);
}

// One step of undo. What was done is told as phrases.
function oneStep(change) {
  const told = [];
  const train = findTrain();
  app.canvas.emitBeforeChange();
  try {
    change(train, told);
  } finally {
    app.canvas.emitAfterChange();
  }
  return { train: `${train.title} (${train.id})`, told };
}

// Everything that a run knows of its settings; ``own``: values of Train's widgets that come on top.
export function putSettings({ train: values, sections }, own = {}) {
  return oneStep((train, told) => {
    disconnect(train, "run_settings", told);
    disconnect(train, "start_from", told);
    fill(train, { ...values, ...own }, told);
    for (const section of sections) fillSection(train, section, told);
  });
}

// Only where a training begins: with the LoRA of a run, whose shape the settings must have.
export function putBeginning(name, { sections }) {
  return oneStep((train, told) => {
    disconnect(train, "start_from", told);
    fill(train, { continue_from: name, continue_stopped: false }, told);
    fillSection(train, sections.find(({ input }) => input === "lora_settings"), told);
  });
}
