// One run in the list: its last preview, a small curve, and what is said of it.
import { element } from "../dom.js";
import { curveOf, lastPreview, previewsOf, previewURL } from "./details.js";
import { smallCurve } from "./small_curve.js";
import { dateText, sizeText, stepsText } from "./words.js";

export const ROW = 116; // px

const SHORT = { "training now": "live", "without a result": "empty" };

export function runRow(run, differs) {
  const row = element(null, "div", { className: "ll-run" });
  const left = element(row, "div", { className: "ll-left" });
  const thumb = element(left, "div", { className: "ll-thumb" });
  element(thumb, "span", { className: "ll-tick", title: "Choose this one too", ariaHidden: "true" });
  element(left, "div", { className: "ll-curve" });
  const text = element(row, "div", { className: "ll-text" });
  const head = element(text, "div", { className: "ll-head" });
  element(head, "span", { className: "ll-date", text: dateText(run.time) });
  const kind = SHORT[run.status] ?? run.status;
  element(head, "span", { className: `ll-status ll-${kind}`, text: run.status });
  element(text, "div", { className: "ll-name", text: run.name });
  const facts = [stepsText(run), sizeText(run.size)].join(" · ");
  element(text, "div", { className: "ll-facts", text: facts });
  element(text, "div", { className: "ll-facts", text: run.model || "base model not recorded" });
  element(text, "div", { className: "ll-differs" });
  tellDifference(row, run, differs);
  return row;
}

// said: how a run differs, as phrases; against: from what.
export function tellDifference(row, run, { said, against }) {
  const differs = row.querySelector(".ll-differs");
  differs.classList.toggle("ll-damage", Boolean(run.damage));
  differs.textContent = run.damage ?? (said.join(", ") || "the same settings");
  differs.title = run.damage ?? `${against}: ${differs.textContent}`;
}

// Fetch the pictures of a row; what cannot be had stays away.
export async function fillRow(row, run) {
  const [previews, curve] = await Promise.allSettled([previewsOf(run), curveOf(run)]);
  const thumb = row.querySelector(".ll-thumb");
  const last = previews.status === "fulfilled" ? lastPreview(previews.value) : null;
  if (last) {
    const image = element(null, "img", { alt: `preview at step ${last.step}` });
    image.src = previewURL(run, last, true);
    thumb.prepend(image);
  } else thumb.dataset.none = "no preview";
  const line = curve.status === "fulfilled" ? smallCurve(curve.value) : null;
  if (line) row.querySelector(".ll-curve").replaceChildren(line);
}
