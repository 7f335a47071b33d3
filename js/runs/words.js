// What is said of a run, in words. Nothing here knows ComfyUI or the page.
const FIRST = [
  "lora rank",
  "lora alpha",
  "optimiser learning_rate",
  "optimiser type",
  "steps",
  "epochs",
  "batch_size",
  "seed",
];
const PREFIX = { captions: "caption", validation: "validation" };
const OWN = { "optimiser type": "optimiser", steps: "steps asked for" };

// A setting as the server names it ("optimiser learning_rate") → "learning rate".
export function settingName(name) {
  if (OWN[name]) return OWN[name];
  const [section, key] = name.includes(" ") ? name.split(" ", 2) : ["", name];
  return [PREFIX[section] ?? "", key.replaceAll("_", " ")].filter(Boolean).join(" ");
}

// A small number as 3e-5, with all its digits: two that differ are told apart.
export const numberText = (value) =>
  value !== 0 && Math.abs(value) < 0.01 ? value.toExponential() : String(value);

export function settingValue(value) {
  if (value === true) return "on";
  if (value === false) return "off";
  if (typeof value === "number") return numberText(value);
  if (Array.isArray(value)) return value.length ? value.map(settingValue).join(", ") : "none";
  return value === "" || value === null ? "none" : String(value);
}

function order(name) {
  const place = FIRST.indexOf(name);
  return place < 0 ? FIRST.length : place;
}

// The settings that are not alike in all of some runs: [[name, [a value for each run]]].
export function unlikeSettings(runs, usual) {
  const names = [...new Set(runs.flatMap(({ settings }) => Object.keys(settings)))];
  return names
    .map((name) => [name, runs.map(({ settings }) => settings[name] ?? usual[name])])
    .filter(([, values]) => new Set(values.map((value) => JSON.stringify(value))).size > 1)
    .sort(([a], [b]) => order(a) - order(b) || a.localeCompare(b));
}

export function unlikeInputs(run, other) {
  const differs = (name) => run.inputs[name] !== other.inputs[name];
  const found = [];
  if (differs("model")) found.push(`base model ${run.model || "another one"}`);
  if (differs("data")) found.push("other images or captions");
  else if (differs("texts")) found.push("captions encoded otherwise");
  if (differs("origin")) found.push(beginning(run));
  return found;
}

export function beginning({ inputs: { origin } }) {
  if (!origin) return "begun from scratch";
  const [name, step] = origin.split(" ");
  return step ? `begun with run ${name} after step ${step}` : "begun with a LoRA file";
}

// How a run differs from another, as short phrases.
export function differences(run, other, usual) {
  const settings = unlikeSettings([run, other], usual).map(
    ([name, [ours, theirs]]) =>
      `${settingName(name)} ${settingValue(ours)} instead of ${settingValue(theirs)}`,
  );
  return [...settings, ...unlikeInputs(run, other)];
}

export function sizeText(bytes) {
  return bytes >= 1e8 ? `${(bytes / 1e9).toFixed(2)} GB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

export function dateText(seconds) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return "at an unknown time";
  const two = (number) => String(number).padStart(2, "0");
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}`;
}

export function stepsText({ steps, asked }) {
  return asked === null || steps === asked ? `${steps} steps` : `step ${steps} of ${asked}`;
}

// Whether a run has all the words that somebody typed, in whatever is said of it.
export function matches(run, typed) {
  const said = [run.name, run.model, run.status, dateText(run.time)];
  for (const [name, value] of Object.entries(run.settings))
    said.push(`${settingName(name)} ${settingValue(value)}`);
  const text = said.join("\n").toLowerCase();
  return typed.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}
