// What the tagger made of a run's previews: a row for each, with the tags behind the scores.
import { element } from "../dom.js";
import { numberText } from "./words.js";

const SCORES = {
  obedience: "share of the prompt's tags that it shows",
  recall: "share of the identity tags shown that only the trigger asks for",
  leakage: "share of common training tags shown that nobody asked for",
  drift: "without the trigger: distance to the model without the LoRA",
};
const TAGS = { missing: "not shown", forgotten: "forgotten", leaked: "leaked" };

// side: {run, previews, colour}; nothing where no preview was scored.
export function scoreTable(parent, { run, previews }) {
  const rows = previews.filter(({ scores }) => scores);
  if (!rows.length) return;
  element(parent, "h3", { text: `Scores of ${run.name.slice(0, 8)}` });
  element(parent, "p", {
    className: "ll-facts",
    text: "From 0 to 1, by the tagger of Score Previews, whose report has their spread. A single preview is one seed.",
  });
  const table = element(parent, "table", { className: "ll-scores" });
  const head = table.createTHead().insertRow();
  for (const text of ["step", "prompt", "strength"]) element(head, "th", { text, scope: "col" });
  for (const [text, title] of Object.entries(SCORES))
    element(head, "th", { text, title, scope: "col" });
  element(head, "th", { text: "tags", scope: "col" });
  const body = table.createTBody();
  for (const { step, prompt, strength, scores, tags } of rows) {
    const row = body.insertRow();
    element(row, "th", { text: String(step), scope: "row" });
    element(row, "td", { text: String(prompt + 1) });
    element(row, "td", { text: numberText(strength) });
    for (const name of Object.keys(SCORES))
      element(row, "td", { text: scores[name] === null ? "–" : scores[name].toFixed(2) });
    element(row, "td", { text: tagsText(tags) });
  }
}

const tagsText = (tags) =>
  Object.entries(TAGS)
    .filter(([name]) => tags[name]?.length)
    .map(([name, said]) => `${said}: ${tags[name].join(", ")}`)
    .join("; ");
