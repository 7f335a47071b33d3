// Questions that only a person can answer: a node asks, this dialog shows it, and yes goes to the server.
import { api, app, postJSON } from "./comfy.js";

const EVENT = "lora_loop.question";
const ANSWER = "/lora_loop/answer";
const NO = "Not now";
const CLOSE = "Close";
const PAUSE = 700; // ms: a click that was meant for something else does not say yes
const LOOK =
  "max-width:min(640px,90vw);padding:20px;border-radius:8px;font-family:sans-serif;" +
  "color:var(--input-text,#ddd);background:var(--comfy-menu-bg,#353535);" +
  "border:1px solid var(--border-color,#4e4e4e)";
const LIST =
  "max-height:40vh;overflow:auto;overflow-wrap:anywhere;unicode-bidi:plaintext;font-family:monospace";
const BUTTON =
  "margin:0 8px 0 0;padding:6px 16px;cursor:pointer;border-radius:6px;" +
  "color:var(--input-text,#ddd);background:var(--comfy-input-bg,#222);" +
  "border:1px solid var(--border-color,#4e4e4e)";

const open = new Set(); // ids: a question that is asked again is shown once

function element(parent, tag, text, style = "") {
  const made = document.createElement(tag);
  made.textContent = text; // never as markup: names of folders are in it
  made.style.cssText = style;
  parent.append(made);
  return made;
}

async function answer(id) {
  try {
    return (await postJSON(ANSWER, { question: id })).done;
  } catch (error) {
    return error.message;
  }
}

function ask({ id, title, text, items, yes }) {
  if (open.has(id)) return;
  open.add(id);
  const dialog = element(document.body, "dialog", "", LOOK);
  element(dialog, "h3", title, "margin:0 0 12px");
  const told = element(dialog, "p", text);
  const list = element(dialog, "ul", "", LIST);
  for (const item of items) element(list, "li", item);
  const no = element(dialog, "button", NO, BUTTON);
  const agree = element(dialog, "button", yes, BUTTON);
  agree.disabled = true;
  setTimeout(() => (agree.disabled = false), PAUSE);
  no.autofocus = true;
  no.addEventListener("click", () => dialog.close());
  agree.addEventListener("click", async () => {
    agree.disabled = true;
    told.textContent = await answer(id);
    list.remove();
    agree.remove();
    no.textContent = CLOSE;
  });
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // no shortcut of the graph
  dialog.addEventListener("close", () => {
    open.delete(id);
    dialog.remove();
  });
  dialog.showModal();
}

app.registerExtension({
  name: "LoraLoop.Questions",
  setup() {
    api.addEventListener(EVENT, ({ detail }) => ask(detail));
  },
});
