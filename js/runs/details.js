// What a run has beside its line in the list: curve and previews, fetched when they are first shown.
import { getJSON, imageURL } from "../comfy.js";

const MOST = 200; // runs whose details are remembered
const known = new Map(); // "kind name" → {version, found}

function remembered(kind, run, fetch) {
  const key = `${kind} ${run.name}`;
  const version = `${run.time} ${run.size}`;
  const had = known.get(key);
  known.delete(key);
  if (had?.version === version) {
    known.set(key, had);
    return had.found;
  }
  const found = fetch();
  found.catch(() => known.delete(key));
  known.set(key, { version, found });
  if (known.size > MOST * 2) known.delete(known.keys().next().value);
  return found;
}

export const curveOf = (run) =>
  remembered("curve", run, () => getJSON("/lora_loop/run/curve", { run: run.name }));

const shownOf = (run) =>
  remembered("previews", run, () => getJSON("/lora_loop/run/previews", { run: run.name }));

export const previewsOf = async (run) => (await shownOf(run)).previews;

// When to stop, in words; "" where too little was measured.
export const adviceOf = async (run) => (await shownOf(run)).advice;

export const previewURL = (run, preview, small = false) =>
  imageURL("/lora_loop/run/preview", {
    run: run.name,
    name: preview.name,
    version: preview.version,
    ...(small ? { small: 1 } : {}),
  });

// The one that shows best what a run came to: of the last step, the first prompt, at full strength.
export function lastPreview(previews) {
  const far = ({ strength }) => Math.abs(strength - 1);
  return previews.reduce(
    (best, one) =>
      !best ||
      one.step > best.step ||
      (one.step === best.step &&
        (one.prompt < best.prompt || (one.prompt === best.prompt && far(one) < far(best))))
        ? one
        : best,
    null,
  );
}
