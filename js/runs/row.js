// One run in the list: its last preview, a small curve, and what is said of it.
import { curveOf, lastPreview, previewsOf, previewURL } from "./details.js";
import { element, smallCurve } from "./parts.js";
import { dateText, sizeText, stepsText } from "./words.js";

export const ROW = 116; // px

const SHORT = { "training now": "live", "without a result": "empty" };

// said: how it differs, as phrases; against: from what.
export function runRow(run, { said, against }) {
  const row = element("div", "ll-run");
  const left = element("div", "ll-left");
  const thumb = element("div", "ll-thumb");
  thumb.append(element("span", "ll-tick", "", { "aria-hidden": "true", title: "Choose this too" }));
  left.append(thumb, element("div", "ll-curve"));
  const text = element("div", "ll-text");
  const head = element("div", "ll-head");
  const status = element("span", `ll-status ll-${SHORT[run.status] ?? run.status}`, run.status);
  head.append(element("span", "ll-date", dateText(run.time)), status);
  const facts = [stepsText(run), sizeText(run.size)].join(" · ");
  text.append(
    head,
    element("div", "ll-name", run.name),
    element("div", "ll-facts", facts),
    element("div", "ll-facts", run.model || "base model not recorded"),
  );
  if (run.damage) text.append(element("div", "ll-differs ll-damage", run.damage));
  else {
    const words = said.join(", ") || "the same settings";
    const differs = element("div", "ll-differs", words, { title: `${against}: ${words}` });
    text.append(differs);
  }
  row.append(left, text);
  return row;
}

// Fetch the pictures of a row; what cannot be had stays away.
export async function fillRow(row, run) {
  const [previews, curve] = await Promise.allSettled([previewsOf(run), curveOf(run)]);
  const last = previews.status === "fulfilled" ? lastPreview(previews.value) : null;
  if (last) {
    const image = element("img", "", "", { alt: `preview at step ${last.step}` });
    image.src = previewURL(run, last, true);
    row.querySelector(".ll-thumb").prepend(image);
  } else row.querySelector(".ll-thumb").dataset.none = "no preview";
  const line = curve.status === "fulfilled" ? smallCurve(curve.value) : null;
  if (line) row.querySelector(".ll-curve").replaceChildren(line);
}
