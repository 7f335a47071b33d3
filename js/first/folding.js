// What a classic node shows at first, as a rule without ComfyUI (Nodes 2.0 folds advanced inputs by itself).

// Whether an advanced widget stays in sight all the same, because it says something of its own.
export const shown = ({ value, fallback, connected }) => connected || value !== fallback;

// The inputs of a node's definition that are advanced, with their defaults: name → value.
export function advancedInputs(definition) {
  const found = new Map();
  for (const group of ["required", "optional"]) {
    for (const [name, [kind, options]] of Object.entries(definition.input?.[group] ?? {})) {
      const choices = Array.isArray(kind) ? kind : options?.options;
      if (options?.advanced) found.set(name, options.default ?? choices?.[0]);
    }
  }
  return found;
}

export const label = (open, hidden) =>
  open ? "▴ Fewer inputs" : `▾ ${hidden} more input${hidden === 1 ? "" : "s"}`;
