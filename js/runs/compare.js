// A large dialog about one run or several: curves over each other, what differs, previews side by side.
import { drawCurves } from "./curves.js";
import { previewsOf } from "./details.js";
import { button, element } from "./parts.js";
import { previewGrid } from "./preview_grid.js";
import { beginning, dateText, settingName, settingValue, stepsText, unlikeSettings } from "./words.js";

const MOST = 12; // curves over each other
export const COLOURS = [
  "#60a5fa", "#f97316", "#34d399", "#e879f9", "#facc15", "#f87171",
  "#22d3ee", "#a3e635", "#c084fc", "#fb7185", "#94a3b8", "#fbbf24",
]; // prettier-ignore

export function openComparison(chosen, usual, onClose) {
  const runs = chosen.slice(0, MOST);
  const dialog = element("dialog", "ll-dialog", "", { "aria-label": "Runs compared" });
  const head = element("div", "ll-dialog-head");
  const title = runs.length > 1 ? `${runs.length} runs compared` : `Run ${runs[0].name}`;
  const close = button("Close", "Back to the list (Escape)", () => dialog.close());
  head.append(element("h2", "", title), close);
  const body = element("div", "ll-dialog-body", "", { tabindex: "-1" });
  const chart = element("div", "ll-chart");
  body.append(legend(runs), chart);
  if (chosen.length > MOST)
    body.prepend(element("p", "ll-facts", `The first ${MOST} of ${chosen.length} are shown.`));
  if (runs.length > 1) body.append(settingsTable(runs, usual));
  const previews = element("section", "ll-previews");
  body.append(previews);
  dialog.append(head, body);
  dialog.addEventListener("keydown", (event) => event.stopPropagation()); // no shortcut of the graph
  document.body.append(dialog);
  dialog.showModal();
  close.focus();
  const ends = [drawCurves(chart, runs, COLOURS)];
  dialog.addEventListener("close", () => {
    for (const end of ends) end();
    dialog.remove();
    onClose();
  });
  showPreviews(previews, runs);
}

function legend(runs) {
  const list = element("ul", "ll-legend");
  for (const [at, run] of runs.entries()) {
    const item = element("li", "");
    const mark = element("span", "ll-swatch");
    mark.style.background = COLOURS[at];
    const text = [run.name, dateText(run.time), stepsText(run), run.status, run.model, beginning(run)];
    item.append(mark, element("span", "", text.filter(Boolean).join(" · ")));
    list.append(item);
  }
  return list;
}

function settingsTable(runs, usual) {
  const unlike = unlikeSettings(runs, usual);
  if (!unlike.length) return element("p", "ll-facts", "All settings are the same.");
  const table = element("table", "ll-settings");
  const head = table.createTHead().insertRow();
  head.append(element("th", "", "setting", { scope: "col" }));
  for (const [at, run] of runs.entries()) {
    const cell = element("th", "", run.name.slice(0, 8), { scope: "col", title: run.name });
    cell.style.borderBottomColor = COLOURS[at];
    head.append(cell);
  }
  const rows = table.createTBody();
  for (const [name, values] of unlike) {
    const row = rows.insertRow();
    row.append(element("th", "", settingName(name), { scope: "row" }));
    for (const value of values) row.append(element("td", "", settingValue(value)));
  }
  const box = element("div", "ll-scroll");
  box.append(table);
  return box;
}

// The previews of the first two runs, or of others that are chosen there.
async function showPreviews(section, runs) {
  const shown = runs.slice(0, 2);
  const grid = element("div", "ll-scroll");
  if (runs.length > 2) section.append(choices(runs, shown, () => draw()));
  section.append(grid);
  async function draw() {
    try {
      const found = await Promise.all(shown.map(previewsOf));
      const sides = shown.map((run, at) => ({
        run,
        previews: found[at],
        colour: COLOURS[runs.indexOf(run)],
      }));
      grid.replaceChildren(previewGrid(sides));
    } catch (error) {
      grid.replaceChildren(element("p", "ll-facts", error.message));
    }
  }
  await draw();
}

function choices(runs, shown, change) {
  const bar = element("div", "ll-facts", "Previews of ");
  for (const side of shown.keys()) {
    const select = element("select", "ll-select", "", {
      "aria-label": side ? "The run on the right" : "The run on the left",
    });
    for (const run of runs) select.append(new Option(`${run.name} ${dateText(run.time)}`, run.name));
    select.value = shown[side].name;
    select.addEventListener("change", () => {
      shown[side] = runs.find(({ name }) => name === select.value);
      change();
    });
    if (side) bar.append(" and ");
    bar.append(select);
  }
  return bar;
}
