// Classic nodes fold their advanced inputs as Nodes 2.0 does; a button at the node's foot opens them.
import { app, onRendererChange, usesVue } from "../comfy.js";
import { advancedInputs, label, shown } from "./folding.js";
import { makeRoom, watchOpener } from "./room.js";

const BUTTON = "lora_loop_fold";
const FOLDED = "lora_loop_folded"; // a property of the node: whether it is folded, once that was looked at
const PREFIX = "LoraLoop";
const TRAIN = `${PREFIX}Train`;
const SLACK = 40; // px: the button itself, and what frontends add
// Inputs of Train that do not apply while one of these sockets is connected.
const SUPERSEDED = {
  rank: ["lora_settings", "run_settings"],
  alpha: ["lora_settings", "run_settings"],
  learning_rate: ["optimiser_settings", "run_settings"],
  optimiser: ["optimiser_settings", "run_settings"],
};

const advanced = new Map(); // class → its advanced inputs with their defaults
const foldedHeights = new WeakMap(); // node → its height before it was opened
const saidSizes = new WeakMap(); // node → the size that its workflow gives

function connected(node, name) {
  const place = node.inputs?.findIndex((slot) => slot.name === name) ?? -1;
  return place >= 0 && node.isInputConnected(place);
}

const superseded = (node, name) =>
  node.comfyClass === TRAIN && SUPERSEDED[name].some((socket) => connected(node, socket));

function hide(widget, hidden) {
  widget.hidden = hidden;
  if (usesVue()) widget.options.hidden = hidden; // what 1.47 looks at
}

function button(node) {
  const found = node.widgets.find((widget) => widget.name === BUTTON);
  if (usesVue()) {
    if (found) node.widgets.splice(node.widgets.indexOf(found), 1);
    return null;
  }
  if (found) return found;
  const made = node.addWidget("button", BUTTON, null, () => toggle(node), { serialize: false });
  made.serialize = false; // not in the saved workflow; the option keeps it out of the prompt
  return made;
}

// Hide and show as the node's property says.
export function arrange(node) {
  const own = advanced.get(node.comfyClass);
  const opener = own.size ? button(node) : null;
  const open = node.properties[FOLDED] === false;
  let more = 0;
  for (const widget of node.widgets) {
    if (!own.has(widget.name)) {
      if (SUPERSEDED[widget.name]) hide(widget, superseded(node, widget.name));
      continue;
    }
    const folds = !shown({
      value: widget.value,
      fallback: own.get(widget.name),
      connected: connected(node, widget.name),
    });
    more += Number(folds);
    hide(widget, folds && opener !== null && !open);
  }
  if (opener) {
    opener.label = label(open, more);
    opener.hidden = more === 0;
  }
  node.setDirtyCanvas?.(true, true);
}

const fit = (node, least = 0) => node.setSize([node.size[0], Math.max(least, node.computeSize()[1])]);

// The room that it would take when it is next drawn: taken now, it is a part of the same step of undo.
export function grow(node) {
  if (usesVue() || !node.graph) return;
  const height = node.size[1];
  fit(node, height);
  if (node.size[1] > height) makeRoom(node, height, node.size[1]);
}

function toggle(node) {
  const height = node.size[1];
  const opens = node.properties[FOLDED] !== false;
  node.properties[FOLDED] = !opens;
  arrange(node);
  fit(node, opens ? height : foldedHeights.get(node));
  if (opens) foldedHeights.set(node, height);
  makeRoom(node, height, node.size[1]);
}

// A node that was never folded has room for all its inputs: it shrinks, unless somebody made it larger.
function settle(node) {
  const own = advanced.get(node.comfyClass);
  if (node.properties[FOLDED] === undefined && own.size) {
    const roomy = node.size[1] > node.computeSize()[1] + SLACK;
    node.properties[FOLDED] = true;
    for (const widget of node.widgets) if (own.has(widget.name)) widget.hidden = true;
    if (!roomy) fit(node); // Nodes 2.0 draws what is shown, however low the node
  }
  arrange(node);
  // Epochs that apply instead of the steps must not be out of sight.
  const epochs = node.comfyClass === TRAIN && node.widgets.find(({ name }) => name === "epochs");
  if (epochs?.value > 0) node.showAdvanced = true;
}

function* ours(graph) {
  for (const node of graph?.nodes ?? []) {
    if (advanced.has(node.comfyClass) && node.widgets) yield node;
    if (node.subgraph) yield* ours(node.subgraph);
  }
}

app.registerExtension({
  name: "LoraLoop.Fold",
  beforeRegisterNodeDef(nodeType, definition) {
    if (definition.name.startsWith(PREFIX)) {
      advanced.set(definition.name, advancedInputs(definition));
    }
  },
  nodeCreated(node) {
    if (!advanced.has(node.comfyClass) || !node.widgets) return;
    settle(node);
    const { onConfigure, onConnectionsChange } = node;
    node.onConfigure = function (saved) {
      onConfigure?.call(this, saved);
      settle(this);
      saidSizes.set(this, [...this.size]);
    };
    node.onConnectionsChange = function (...given) {
      onConnectionsChange?.apply(this, given);
      arrange(this);
      if (!app.configuringGraph) grow(this);
    };
  },
  // ComfyUI has just made room for all inputs, those too that Nodes 2.0 does not show.
  loadedGraphNode(node) {
    const size = saidSizes.get(node);
    if (size && usesVue()) node.setSize(size);
  },
  setup() {
    watchOpener();
    onRendererChange(() => [...ours(app.rootGraph ?? app.graph)].forEach(settle));
  },
});
