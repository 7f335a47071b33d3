// A node that shows its advanced inputs pushes the nodes below it down, and lets them come back when it hides them.
import { app } from "../comfy.js";

const GAP = 12; // px between nodes
const SETTLED = 100; // ms in which it draws them
const OPENER = '[data-testid="advanced-inputs-button"]'; // of Nodes 2.0

const pushed = new WeakMap(); // node → [{other, y, from}]: where the others were put, and where they come from

const titleHeight = () => window.LiteGraph.NODE_TITLE_HEIGHT;
const meet = (one, other) =>
  one.pos[0] < other.pos[0] + other.size[0] && other.pos[0] < one.pos[0] + one.size[0];

// The nodes below: those in its columns, and those below these.
function below(node, bottom) {
  const found = new Set();
  const others = node.graph.nodes.filter((other) => other !== node && other.pos[1] >= bottom);
  others.sort((a, b) => a.pos[1] - b.pos[1]);
  for (const other of others)
    if ([node, ...found].some((upper) => meet(upper, other))) found.add(other);
  return [...found];
}

const place = (node, y) => (node.pos = [node.pos[0], y]);

// The node was `before` px high and is `after` now.
export function makeRoom(node, before, after) {
  for (const { other, y, from } of pushed.get(node) ?? [])
    if (other.graph === node.graph && other.pos[1] === y) place(other, from); // else it was moved by hand
  pushed.delete(node);
  if (after <= before) return;
  const others = below(node, node.pos[1] + before);
  const first = Math.min(...others.filter((other) => meet(node, other)).map((other) => other.pos[1]));
  const by = node.pos[1] + after + GAP + titleHeight() - first;
  if (by <= 0) return; // also where there is no first: it is infinitely far then
  pushed.set(
    node,
    others.map((other) => {
      const from = other.pos[1];
      place(other, from + by);
      return { other, from, y: other.pos[1] };
    }),
  );
}

// Nodes 2.0 shows and hides them by itself.
export function watchOpener() {
  document.addEventListener(
    "click",
    ({ target }) => {
      const element = target.closest?.(OPENER)?.closest("[data-node-id]");
      if (!element) return;
      const { nodeId } = element.dataset;
      const graph = app.canvas.graph;
      const node = graph?.nodes.find((one) => String(one.id) === nodeId);
      if (!node?.comfyClass?.startsWith("LoraLoop")) return;
      const before = element.offsetHeight;
      setTimeout(() => makeRoom(node, before - titleHeight(), element.offsetHeight - titleHeight()), SETTLED);
    },
    true,
  );
}
