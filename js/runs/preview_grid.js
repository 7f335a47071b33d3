// Previews of one run or of two side by side: a row for each step, a column for each strength.
import { previewURL } from "./details.js";
import { element } from "./parts.js";
import { numberText } from "./words.js";

const sorted = (values) => [...new Set(values)].sort((a, b) => a - b);

// sides: [{run, previews, colour}].
export function previewGrid(sides) {
  const all = sides.flatMap(({ previews }) => previews);
  const box = element("div", "ll-grids");
  if (!all.length) box.append(element("p", "ll-facts", "There are no previews."));
  for (const prompt of sorted(all.map((one) => one.prompt))) {
    const told = all.find((one) => one.prompt === prompt && one.text)?.text;
    box.append(element("h3", "", told ? `Prompt: ${told}` : `Prompt ${prompt + 1}`));
    const ours = sides.map((side) => ({
      ...side,
      previews: side.previews.filter((one) => one.prompt === prompt),
    }));
    box.append(table(ours));
  }
  return box;
}

function table(sides) {
  const all = sides.flatMap(({ previews }) => previews);
  const strengths = sorted(all.map(({ strength }) => strength));
  const made = element("table", "ll-grid");
  const head = made.createTHead();
  const first = head.insertRow();
  first.append(element("th", "", "step", { scope: "col" }));
  for (const strength of strengths)
    first.append(
      element("th", "", `strength ${numberText(strength)}`, {
        scope: "colgroup",
        colspan: String(sides.length),
      }),
    );
  if (sides.length > 1) {
    const second = head.insertRow();
    second.append(element("td", ""));
    for (const _ of strengths)
      for (const { run, colour } of sides) {
        const cell = element("th", "", run.name.slice(0, 8), { scope: "col", title: run.name });
        cell.style.borderBottomColor = colour;
        second.append(cell);
      }
  }
  const body = made.createTBody();
  for (const step of sorted(all.map((one) => one.step))) {
    const row = body.insertRow();
    row.append(element("th", "", String(step), { scope: "row" }));
    for (const strength of strengths)
      for (const side of sides) row.append(cell(side, step, strength));
  }
  return made;
}

function cell({ run, previews }, step, strength) {
  const made = element("td", "");
  const preview = previews.find((one) => one.step === step && one.strength === strength);
  if (!preview) return made;
  const open = element("button", "ll-picture", "", {
    type: "button",
    title: `${run.name}, step ${step}, strength ${numberText(strength)}`,
  });
  const image = element("img", "", "", { alt: open.title, loading: "lazy" });
  image.src = previewURL(run, preview, true);
  open.append(image);
  made.append(open);
  return made;
}
