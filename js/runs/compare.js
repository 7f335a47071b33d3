// A large dialog about one run or several: curves over each other, what differs, previews side by side.
import { COLOURS, CurveChart } from "../chart.js";
import { button, element, ownKeys } from "../dom.js";
import { openViewer } from "../viewer.js";
import { adviceOf, curveOf, previewsOf } from "./details.js";
import { previewGrid } from "./preview_grid.js";
import { scoreTable } from "./scores.js";
import {
  beginning,
  dateText,
  settingName,
  settingValue,
  stepsText,
  unlikeInputs,
  unlikeSettings,
} from "./words.js";

const MOST = COLOURS.length; // curves over each other

export function openComparison(chosen, usual, onClose) {
  const runs = chosen.slice(0, MOST);
  const title = runs.length > 1 ? `${runs.length} runs compared` : `Run ${runs[0].name}`;
  const dialog = element(document.body, "dialog", { className: "ll-dialog", ariaLabel: title });
  const head = element(dialog, "div", { className: "ll-dialog-head" });
  element(head, "h2", { text: title });
  const close = button(head, "Close", "Back to the list (Escape)", () => dialog.close());
  const body = element(dialog, "div", { className: "ll-dialog-body" });
  if (chosen.length > MOST)
    element(body, "p", {
      className: "ll-facts",
      text: `The first ${MOST} of ${chosen.length} runs are shown.`,
    });
  legend(body, runs);
  const chart = showCurves(body, runs);
  showAdvice(body, runs);
  if (runs.length > 1) settingsTable(body, runs, usual);
  showPreviews(body, runs);
  ownKeys(dialog);
  dialog.showModal();
  close.focus();
  dialog.addEventListener("close", () => {
    chart.destroy();
    dialog.remove();
    onClose();
  });
}

function legend(parent, runs) {
  const list = element(parent, "ul", { className: "ll-legend" });
  for (const [at, run] of runs.entries()) {
    const item = element(list, "li");
    if (runs.length > 1)
      element(item, "span", { className: "ll-swatch" }).style.background = COLOURS[at];
    const said = [run.name, dateText(run.time), stepsText(run), run.status, run.model, beginning(run)];
    element(item, "span", { text: said.filter(Boolean).join(" · ") });
  }
}

// The curves, by step or by time.
function showCurves(parent, runs) {
  const label = element(parent, "label", { className: "ll-facts", text: "Loss by " });
  const by = element(label, "select", { className: "ll-select" });
  by.append(new Option("step", "steps"), new Option("time", "seconds"));
  const chart = new CurveChart(element(parent, "div", { className: "ll-chart" }));
  const problem = element(parent, "p", { className: "ll-facts", hidden: true });
  const draw = async () => {
    try {
      const found = await Promise.all(runs.map(curveOf));
      if (!found.some(({ steps }) => steps.length)) throw new Error("There is no curve yet.");
      const curves = found.map((curve, at) => ({ ...curve, name: runs[at].name }));
      if (parent.isConnected) chart.show(curves, by.value);
    } catch (error) {
      problem.hidden = false;
      problem.textContent = error.message;
    }
  };
  by.addEventListener("change", draw);
  draw();
  return chart;
}

// When to stop, of each run that knows.
function showAdvice(parent, runs) {
  const place = element(parent, "div", { className: "ll-advice" });
  for (const run of runs) {
    const line = element(place, "p", { className: "ll-facts", hidden: true });
    const name = runs.length > 1 ? `${run.name.slice(0, 8)}: ` : "When to stop: ";
    adviceOf(run)
      .then((advice) => {
        line.hidden = !advice;
        line.textContent = `${name}${advice}`;
      })
      .catch(() => {}); // the previews tell why
  }
}

function settingsTable(parent, runs, usual) {
  const unlike = unlikeSettings(runs, usual);
  const others = [...new Set(runs.slice(1).flatMap((run) => unlikeInputs(run, runs[0])))];
  if (others.length) element(parent, "p", { className: "ll-facts", text: `Not made of the same: ${others.join(", ")}.` });
  if (!unlike.length) {
    element(parent, "p", { className: "ll-facts", text: "All settings are the same." });
    return;
  }
  const table = element(element(parent, "div", { className: "ll-scroll" }), "table", {
    className: "ll-settings",
  });
  const head = table.createTHead().insertRow();
  element(head, "th", { text: "what differs", scope: "col" });
  for (const [at, { name }] of runs.entries()) {
    const cell = element(head, "th", { text: name.slice(0, 8), title: name, scope: "col" });
    cell.style.borderBottomColor = COLOURS[at];
  }
  const rows = table.createTBody();
  for (const [name, values] of unlike) {
    const row = rows.insertRow();
    element(row, "th", { text: settingName(name), scope: "row" });
    for (const value of values) element(row, "td", { text: settingValue(value) });
  }
}

// The previews of one run, or of two side by side: the first two, or others that are chosen here.
function showPreviews(parent, runs) {
  const shown = runs.slice(0, 2);
  if (runs.length > 2) choices(parent, runs, shown, () => draw());
  const grid = element(parent, "div", { className: "ll-scroll ll-grids" });
  const draw = async () => {
    try {
      const found = await Promise.all(shown.map(previewsOf));
      const sides = shown.map((run, at) => ({
        run,
        previews: found[at],
        colour: COLOURS[runs.indexOf(run)],
      }));
      grid.replaceChildren();
      previewGrid(grid, sides, openViewer);
      for (const side of sides) scoreTable(grid, side);
    } catch (error) {
      grid.textContent = error.message;
    }
  };
  draw();
}

function choices(parent, runs, shown, change) {
  const bar = element(parent, "div", { className: "ll-facts", text: "Side by side: " });
  for (const side of shown.keys()) {
    const select = element(bar, "select", {
      className: "ll-select",
      ariaLabel: side ? "The run on the right" : "The run on the left",
    });
    for (const { name, time } of runs) select.append(new Option(`${name} ${dateText(time)}`, name));
    select.value = shown[side].name;
    select.addEventListener("change", () => {
      shown[side] = runs.find(({ name }) => name === select.value);
      change();
    });
  }
}
