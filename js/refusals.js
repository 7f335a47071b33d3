// What a node of ours refuses at Queue, read at once: ComfyUI shows the name of the input, and the sentence
// only behind further clicks.
import { api, app, toast } from "./comfy.js";

const OURS = "LoraLoop";
const EVERY = 100; // ms between two looks
const LONGEST = 20_000; // ms in which ComfyUI has checked a graph
const LIFE = 20_000; // ms that a sentence stays
const NEEDED = { CLIP: "clip", VAE: "vae" }; // words of Train's sentence, and the inputs that they are about

let waiting = 0;

const nodeErrors = () => app.extensionManager.lastNodeErrors ?? app.lastNodeErrors;

// [title of the node, id, sentence], each sentence of a node once.
function* refusals(errors) {
  for (const [id, { class_type: type, errors: found }] of Object.entries(errors)) {
    if (!type?.startsWith(OURS)) continue;
    const node = app.rootGraph.getNodeById(Number(id.split(":")[0]));
    const sentences = found.map(({ message, details, extra_info: about }) => {
      const name = about?.input_name ?? "";
      const said = details?.startsWith(`${name} - `) ? details.slice(name.length + 3) : "";
      return said || [message, details].filter(Boolean).join(": ");
    });
    for (const sentence of new Set(sentences)) yield [node?.title ?? type, id, sentence];
  }
}

// Marks the inputs that are missing, which ComfyUI cannot: it marks those that it has looked at.
function markMissing(id, sentence) {
  const words = /^Previews need (.*) on Train/.exec(sentence)?.[1].split(" and ") ?? [];
  const node = words.length && app.rootGraph.getNodeById(Number(id));
  if (!node) return;
  for (const slot of node.inputs)
    slot.hasErrors = words.some((word) => NEEDED[word] === slot.name);
  node.setDirtyCanvas(true, true);
}

function tell(errors) {
  for (const [title, id, sentence] of refusals(errors)) {
    toast("error", title, sentence, LIFE);
    markMissing(id, sentence);
  }
}

function watch() {
  clearInterval(waiting);
  const before = nodeErrors();
  const begun = performance.now();
  waiting = setInterval(() => {
    const errors = nodeErrors();
    const isNew = errors && errors !== before && Object.keys(errors).length > 0;
    if (isNew) tell(errors);
    if (isNew || performance.now() - begun > LONGEST) clearInterval(waiting);
  }, EVERY);
}

app.registerExtension({
  name: "LoraLoop.Refusals",
  setup() {
    api.addEventListener("promptQueueing", watch);
    api.addEventListener("promptQueued", () => clearInterval(waiting));
  },
});
