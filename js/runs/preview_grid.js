// Previews of one run or of two side by side: a row for each step, a column for each strength.
import { element } from "../dom.js";
import { previewURL } from "./details.js";
import { numberText } from "./words.js";

const sorted = (values) => [...new Set(values)].sort((a, b) => a - b);

// sides: [{run, previews, colour}]; open(pictures, at) shows one of them large.
export function previewGrid(parent, sides, open) {
  const all = sides.flatMap(({ previews }) => previews);
  if (!all.length) element(parent, "p", { className: "ll-facts", text: "There are no previews." });
  for (const prompt of sorted(all.map((one) => one.prompt))) {
    const texts = new Set(all.filter((one) => one.prompt === prompt).map(({ text }) => text));
    const said = [...texts].filter(Boolean).join(" / ");
    element(parent, "h3", { text: `Previews of prompt ${prompt + 1}${said && `: ${said}`}` });
    const ours = sides.map((side) => ({
      ...side,
      previews: side.previews.filter((one) => one.prompt === prompt),
    }));
    table(parent, ours, open);
  }
}

function table(parent, sides, open) {
  const all = sides.flatMap(({ previews }) => previews);
  const strengths = sorted(all.map(({ strength }) => strength));
  const made = element(parent, "table", { className: "ll-grid" });
  heads(made.createTHead(), sides, strengths);
  const body = made.createTBody();
  const pictures = [];
  for (const step of sorted(all.map((one) => one.step))) {
    const row = body.insertRow();
    element(row, "th", { text: String(step), scope: "row" });
    for (const strength of strengths)
      for (const { run, previews } of sides) {
        const cell = row.insertCell();
        const preview = previews.find((one) => one.step === step && one.strength === strength);
        if (!preview) continue;
        const title = `${run.name}, step ${step}, strength ${numberText(strength)}`;
        const at = pictures.push({ title, url: previewURL(run, preview) }) - 1;
        const button = element(cell, "button", { className: "ll-picture", title, type: "button" });
        element(button, "img", {
          alt: title,
          loading: "lazy",
          width: 128,
          height: Math.round((128 * preview.height) / preview.width),
          src: previewURL(run, preview, true),
        });
        button.addEventListener("click", () => open(pictures, at));
      }
  }
}

function heads(head, sides, strengths) {
  const first = head.insertRow();
  element(first, "th", { text: "step", scope: "col" });
  for (const strength of strengths)
    element(first, "th", {
      text: `strength ${numberText(strength)}`,
      scope: "colgroup",
      colSpan: sides.length,
    });
  if (sides.length < 2) return;
  const second = head.insertRow();
  second.insertCell();
  for (const _ of strengths)
    for (const { run, colour } of sides) {
      const name = element(second, "th", { text: run.name.slice(0, 8), title: run.name, scope: "col" });
      name.style.borderBottomColor = colour;
    }
}
