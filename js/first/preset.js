// Which inputs a preset sets, and where they are: without ComfyUI.

// The node that an input is looked for on: what is connected to a socket of Train, else Train itself.
const PLACES = {
  rank: "lora_settings",
  alpha: "lora_settings",
  learning_rate: "optimiser_settings",
  optimiser: "optimiser_settings",
  steps: null,
  resolution: "cache",
  min_reso: "cache",
  max_reso: "cache",
  width: "preview_settings",
  height: "preview_settings",
  every: "preview_settings",
  cfg: "preview_settings",
  negative: "preview_settings",
};
const ALSO_ON_TRAIN = new Set(["rank", "alpha", "learning_rate", "optimiser"]);

// The changes of a purpose and a base: [{input, node, widget, before, after, why}].
// `connected(socket)` gives the node at a socket of `train`, or null; `free(node, input)` says whether
// its widget holds the value.
export function changes(purpose, base, train, connected, free) {
  const found = [];
  for (const [input, after, why] of [...purpose.set, ...base.set]) {
    const socket = PLACES[input];
    const there = socket ? connected(socket) : train;
    const node = there ?? (ALSO_ON_TRAIN.has(input) ? train : null);
    const widget = node?.widgets?.find((candidate) => candidate.name === input);
    if (!widget || !free(node, input)) continue;
    found.push({ input, node, widget, before: widget.value, after, why });
  }
  return found;
}
