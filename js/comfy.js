// The seam to ComfyUI's frontend: whatever the pack uses of it comes through here.
import { app } from "../../scripts/app.js";
import { api } from "../../scripts/api.js";

export { app, api };

const UNREACHABLE = "ComfyUI cannot be reached.";

async function answered(request) {
  let response, found;
  try {
    response = await request;
    found = await response.json();
  } catch {
    throw new Error(UNREACHABLE);
  }
  if (!response.ok) throw new Error(found.error ?? `${response.status} ${response.statusText}`);
  return found;
}

// What a route of ours answers; an Error with its sentence where it refuses.
export const getJSON = (path, query = {}) =>
  answered(api.fetchApi(`${path}?${new URLSearchParams(query)}`));

export const postJSON = (path, body) =>
  answered(
    api.fetchApi(path, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    }),
  );

// The address of an image that a route of ours answers with.
export const imageURL = (path, query) => api.apiURL(`${path}?${new URLSearchParams(query)}`);

export function toast(severity, summary, detail, life = 8000) {
  app.extensionManager.toast.add({ severity, summary, detail, life });
}

// Whether nodes are drawn by Nodes 2.0 rather than on the classic canvas.
export const usesVue = () => Boolean(window.LiteGraph.vueNodesMode);

export function onRendererChange(react) {
  app.ui.settings.addEventListener("Comfy.VueNodes.Enabled.change", () => setTimeout(react));
}

// Colours of wires and slots by type: Nodes 2.0 reads CSS variables, the canvas has tables.
export function styleWires(colours) {
  const style = document.createElement("style");
  const rules = Object.entries(colours).map(([type, one]) => `--color-datatype-${type}:${one};`);
  style.textContent = `:root{${rules.join("")}}`;
  document.head.append(style);
}

export function paintWires(colours) {
  Object.assign(window.LGraphCanvas.link_type_colors, colours);
  Object.assign(app.canvas.default_connection_color_byType, colours);
  app.canvas.setDirty(true, true);
}

const extras = new WeakMap(); // node of a subgraph → widgets that its frontend would not keep

// Whether what `addElement` adds is seen: on the node of a subgraph Nodes 2.0 shows it from frontend 1.49 on.
export const showsElements = (node) => !node.subgraph || "_extraWidgets" in node || !usesVue();

// Up to frontend 1.47 the node of a subgraph has the promoted widgets and no other. To be called when it is new,
// before Nodes 2.0 looks at it: what `addElement` adds comes after these then.
export function allowElements(node) {
  const own = Object.getOwnPropertyDescriptor(node, "widgets");
  if (!node.subgraph || !own?.get || "_extraWidgets" in node) return;
  const added = [];
  extras.set(node, added);
  Object.defineProperty(node, "widgets", { ...own, get: () => [...own.get.call(node), ...added] });
}

const MARGIN = 4; // px around an element on a node

// An element on a node, `height` px high from the start in both renderers; its own CSS must say the same height.
// Neither the prompt nor the saved workflow has a trace of it. `type` is one of ours: the frontend has components
// for common names.
export function addElement(node, name, type, element, height) {
  const fixed = () => height + 2 * MARGIN;
  const widget = node.addDOMWidget(name, type, element, {
    serialize: false, // not in the prompt
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: fixed,
    getMaxHeight: fixed,
    getHeight: fixed,
  });
  widget.serialize = false; // nor in the saved workflow
  if (!node.widgets.includes(widget)) extras.get(node)?.push(widget);
  node.setSize([node.size[0], Math.max(node.size[1], node.computeSize()[1])]);
  return widget;
}

// {id, key, node} of all nodes of the open graph. `id` is the server's: "2:1" is node 1 of the subgraph in node 2;
// `key` is the one of app.nodeOutputs: "1", or "<id of the subgraph>:1" inside of one.
export function* allNodes(graph = app.rootGraph, prefix = "", home = "") {
  for (const node of graph?.nodes ?? []) {
    const id = `${prefix}${node.id}`;
    yield { id, key: `${home}${node.id}`, node };
    if (node.subgraph) yield* allNodes(node.subgraph, `${id}:`, `${node.subgraph.id}:`);
  }
}

// What the nodes of the open graph have shown under a key of ours, since the page was loaded.
export const shownBy = (key) => Object.values(app.nodeOutputs ?? {}).flatMap((output) => output?.[key] ?? []);
