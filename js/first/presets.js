// "Presets…" on Train: what usually goes for a purpose and a base model, with the reasons, before it is set.
import { app, toast } from "../comfy.js";
import { arrange, grow } from "./fold.js";
import { changes } from "./preset.js";

const NODE = "LoraLoopTrain";
const BUTTON = "Presets…";
const LOOK =
  "width:min(760px,92vw);max-height:86vh;overflow:auto;padding:20px;border-radius:8px;font-family:sans-serif;" +
  "font-size:14px;line-height:1.4;color:var(--input-text,#ddd);background:var(--comfy-menu-bg,#353535);" +
  "border:1px solid var(--border-color,#4e4e4e)";
const CONTROL =
  "margin:0 8px 0 0;padding:6px 12px;border-radius:6px;font:inherit;cursor:pointer;" +
  "color:var(--input-text,#ddd);background:var(--comfy-input-bg,#222);" +
  "border:1px solid var(--border-color,#4e4e4e)";
const CELL = "text-align:left;vertical-align:top;padding:3px 12px 3px 0";

const table = async () => (await fetch(new URL("./presets.json", import.meta.url))).json();

function element(parent, tag, text = "", style = "") {
  const made = document.createElement(tag);
  made.textContent = text;
  made.style.cssText = style;
  parent.append(made);
  return made;
}

function choice(parent, name, options) {
  const label = element(parent, "label", `${name} `);
  const select = element(label, "select", "", CONTROL);
  for (const option of options) element(select, "option", option);
  return select;
}

const place = (node, input) => node.inputs?.findIndex((slot) => slot.name === input) ?? -1;

function found(train, purpose, base) {
  const connected = (socket) => train.getInputNode(place(train, socket));
  const free = (node, input) => {
    const slot = place(node, input);
    return slot < 0 || !node.isInputConnected(slot);
  };
  return changes(purpose, base, train, connected, free);
}

function set(made) {
  app.canvas.emitBeforeChange(); // so that Ctrl+Z takes all of it back
  for (const { widget, after, node } of made) {
    widget.value = after;
    widget.callback?.(after, app.canvas, node);
  }
  for (const node of new Set(made.map((one) => one.node))) {
    arrange(node);
    grow(node);
  }
  app.canvas.emitAfterChange();
  app.canvas.setDirty(true, true);
}

function draw(into, train, purpose, base) {
  into.replaceChildren();
  element(into, "p", `${purpose.about} ${base.about}`, "margin:12px 0");
  const rows = element(into, "table", "", "border-collapse:collapse");
  for (const { input, node, before, after, why } of found(train, purpose, base)) {
    const row = element(rows, "tr");
    element(row, "td", `${node.title}: ${input}`, CELL);
    const same = before === after;
    element(row, "td", same ? `${after}` : `${before === "" ? "empty" : before} → ${after}`, CELL);
    element(row, "td", why, `${CELL};opacity:.8`);
    if (!same) row.style.color = "var(--fg-color,#fff)";
  }
  const list = element(into, "ul", "", "padding-left:20px;margin:12px 0");
  for (const line of [...purpose.advice, ...base.advice]) element(list, "li", line);
}

async function offer(train) {
  const { purposes, bases } = await table();
  const dialog = element(document.body, "dialog", "", LOOK);
  dialog.dataset.loraLoop = "presets";
  element(dialog, "h3", "Presets", "margin:0 0 12px");
  const purpose = choice(dialog, "For a", Object.keys(purposes));
  const base = choice(dialog, "on", Object.keys(bases));
  const agree = element(dialog, "button", "Set these", CONTROL);
  const no = element(dialog, "button", "Cancel", CONTROL);
  const shown = element(dialog, "div");
  const chosen = () => [purposes[purpose.value], bases[base.value]];
  const redraw = () => draw(shown, train, ...chosen());
  purpose.addEventListener("change", redraw);
  base.addEventListener("change", redraw);
  no.addEventListener("click", () => dialog.close());
  agree.addEventListener("click", () => {
    const made = found(train, ...chosen());
    const count = made.filter((one) => one.before !== one.after).length;
    set(made);
    dialog.close();
    document.activeElement?.blur(); // Ctrl+Z goes to the graph, not to the page in the sidebar that had the focus
    toast("success", `${purpose.value}, ${base.value}`, `${count} inputs set; Ctrl+Z takes it back.`);
  });
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // no shortcut of the graph
  dialog.addEventListener("close", () => dialog.remove());
  redraw();
  dialog.showModal();
}

app.registerExtension({
  name: "LoraLoop.Presets",
  nodeCreated(node) {
    if (node.comfyClass !== NODE) return;
    const button = node.addWidget("button", BUTTON, null, () => offer(node), { serialize: false });
    button.serialize = false;
  },
});
