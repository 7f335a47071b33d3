// What the page knows of trainings: asked for once, then kept up by the server's events.
import { api, app, getJSON } from "./comfy.js";

const EVENT = "lora_loop.node";
const TRAININGS = "/lora_loop/training";
const CURVE = "/lora_loop/run/curve";
const PREVIEWS = "/lora_loop/run/previews";
const COLUMNS = ["steps", "seconds", "loss", "smoothed", "rate", "difference"];
const MOST_POINTS = 6000; // beyond these the server thins the curve out again

export const changed = new EventTarget(); // "change" when anything below has
const known = new Map(); // "workflow/node" -> {node, line, …, curve, previews}

const key = (workflow, node) => `${workflow ?? ""}/${node}`;

// The training of a node of the graph that is open, or of one that a program queued.
export function trainingOf(node) {
  return known.get(key(app.rootGraph?.id, node)) ?? known.get(key(null, node));
}

// The training that the server spoke of last.
export const latest = () => [...known.values()].at(-1);

function tell() {
  changed.dispatchEvent(new Event("change"));
}

async function fetchCurve(training) {
  const run = training.run;
  training.curve = null;
  try {
    const curve = await getJSON(CURVE, { run });
    if (training.run === run) training.curve = curve;
  } catch {
    training.curve = { marks: [], ...Object.fromEntries(COLUMNS.map((name) => [name, []])) }; // not begun
  }
  training.seconds = null;
  tell();
}

async function fetchPreviews(training) {
  const run = training.run;
  try {
    const { previews } = await getJSON(PREVIEWS, { run });
    if (training.run === run) training.previews = previews;
  } catch {
    training.previews = [];
  }
  tell();
}

function append(training, points) {
  const { curve } = training;
  if (!points.length || !curve) return;
  const last = curve.steps.at(-1) ?? 0;
  const fresh = points.filter(([step]) => step > last);
  if (fresh.length && (fresh[0][0] !== last + 1 || curve.steps.length > MOST_POINTS)) {
    fetchCurve(training); // some were missed, or it has become long
    return;
  }
  for (const [step, seconds, ...others] of fresh) {
    const took = training.seconds == null ? 0 : seconds - training.seconds;
    training.seconds = seconds;
    const row = [step, (curve.seconds.at(-1) ?? 0) + Math.max(0, took), ...others];
    COLUMNS.forEach((name, index) => curve[name].push(row[index]));
  }
}

// What the server says of a training; the curve and the previews come from the folder of its run.
export function take(node, line, { points = [], marks = [], ...state }) {
  const id = key(state.workflow, node);
  const before = known.get(id);
  const isSame = before?.run === state.run;
  const training = Object.assign(isSame ? before : { previews: [] }, state, { node, line });
  known.delete(id); // so that the latest is the last
  known.set(id, training);
  if (!isSame) {
    fetchCurve(training);
    fetchPreviews(training);
    return;
  }
  append(training, points);
  training.curve?.marks.push(...marks);
  if (marks.some((mark) => mark.kind === "preview")) fetchPreviews(training);
}

async function refresh() {
  try {
    const { trainings } = await getJSON(TRAININGS);
    for (const { node, line, ...state } of trainings) {
      known.delete(key(state.workflow, node)); // events were missed: all of it is asked for again
      take(node, line, state);
    }
  } catch {
    return; // the server is gone; "reconnected" comes when it is back
  }
  tell();
}

export function listen() {
  api.addEventListener(EVENT, ({ detail }) => {
    const { node, workflow, line, training } = detail;
    if (training) take(node, line, training);
    else if (known.has(key(workflow, node))) known.get(key(workflow, node)).line = line;
    tell();
  });
  api.addEventListener("reconnected", refresh);
  return refresh();
}
