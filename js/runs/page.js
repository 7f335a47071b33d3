// The page Runs of the sidebar: all trainings, newest first, and what can be done with them.
import { app, getJSON, imageURL, postJSON } from "../comfy.js";
import { button, element, stylesheet } from "../dom.js";
import { openComparison } from "./compare.js";
import { putBeginning, putSettings } from "./graph.js";
import { RunList } from "./list.js";
import { fillRow, ROW, runRow, tellDifference } from "./row.js";
import { differences, matches, sizeText } from "./words.js";

const OFTEN = 3000; // ms between two looks at what trains and changes
const NOW = "training now";

class RunsPage {
  constructor(root) {
    this.runs = [];
    this.usual = {};
    this.trashed = []; // names, the last deleted at the end
    const page = element(root, "div", { className: "ll-runs" });
    page.addEventListener("keydown", keepFromGraph);
    this.filter = element(page, "input", {
      className: "ll-filter",
      type: "search",
      placeholder: "Filter: name, model, setting…",
      ariaLabel: "Filter the runs",
    });
    this.filter.addEventListener("input", () => this.show());
    this.count = element(page, "div", { className: "ll-facts", text: "Reading the runs…" });
    this.count.role = "status";
    this.list = new RunList(page, {
      height: ROW,
      row: (run) => runRow(run, this.differsOf(run)),
      fill: fillRow,
      onChoice: () => this.onChoice(),
      onOpen: () => this.compare(),
      onDelete: () => this.delete(),
    });
    const foot = element(page, "div", { className: "ll-foot" });
    this.chosenText = element(foot, "div", { className: "ll-facts" });
    this.buttons = this.makeButtons(foot);
    this.message = element(foot, "div", { className: "ll-message", role: "status" });
    this.undo = button(foot, "Undo", "Bring the deleted runs back from the trash", () =>
      this.restore(),
    );
    this.undo.hidden = true;
    this.timer = setInterval(() => this.look(), OFTEN);
    this.onChoice();
    this.refresh();
  }

  end() {
    this.ended = true;
    clearInterval(this.timer);
    this.list.end();
  }

  makeButtons(foot) {
    const bar = element(foot, "div", { className: "ll-buttons", role: "toolbar", ariaLabel: "Runs" });
    const make = (text, title, press) => button(bar, text, title, () => press.call(this));
    return {
      compare: make("Look closer", "Curves and previews, large (Enter)", this.compare),
      goOn: make("Continue", "Set the open graph so that Run goes on with this run", this.goOn),
      begin: make("Start from", "A new run under the graph's settings begins with its LoRA", this.begin),
      copy: make("Copy settings", "Put every setting of this run into the open graph", this.copy),
      report: make("Report", "A zip of versions, settings, losses and log, without names", this.report),
      delete: make("Delete", "Move to the trash, for 14 days (Delete)", this.delete),
    };
  }

  get chosen() {
    return this.runs.filter(({ name }) => this.list.chosen.has(name));
  }

  // All runs anew.
  async refresh() {
    try {
      const { runs, usual, state } = await getJSON("/lora_loop/runs/list");
      if (this.ended) return;
      Object.assign(this, { runs, usual, state });
      this.show();
    } catch (error) {
      this.say(error.message);
    }
  }

  // Those that train anew; all where one of the others is new, gone or not as it was.
  async look() {
    if (document.hidden || !this.state) return;
    const found = await getJSON("/lora_loop/runs/list", { training: 1 }).catch(() => null);
    if (!found || this.ended) return;
    const places = found.runs.map((run) => this.runs.findIndex(({ name }) => name === run.name));
    if (found.state !== this.state || places.includes(-1)) return this.refresh();
    for (const [at, run] of found.runs.entries()) {
      this.runs[places[at]] = run;
      this.list.update(run);
    }
  }

  show() {
    const typed = this.filter.value.trim();
    this.shown = typed ? this.runs.filter((run) => matches(run, typed)) : this.runs;
    const size = sizeText(this.runs.reduce((sum, run) => sum + run.size, 0));
    const of = typed ? `${this.shown.length} of ` : "";
    this.count.textContent = this.runs.length
      ? `${of}${this.runs.length} runs, ${size}`
      : "No runs yet: they come here when something is trained.";
    this.list.show(this.shown);
    this.onChoice();
  }

  // How a run differs: from the one that is chosen, or from the one before it.
  differsOf(run) {
    const chosen = this.chosen;
    const isOther = chosen.length === 1 && chosen[0] !== run;
    const other = isOther ? chosen[0] : this.runs[this.runs.indexOf(run) + 1];
    const from = isOther ? "the chosen run" : other ? "the run before it" : "the defaults";
    const said = differences(run, other ?? untouched(run), this.usual);
    return { said, against: `Compared with ${from}` };
  }

  onChoice() {
    const runs = this.chosen;
    const [run] = runs;
    const single = runs.length === 1;
    const isIdle = runs.length > 0 && runs.every(({ status }) => status !== NOW);
    const { compare, goOn, begin, copy, report, delete: remove } = this.buttons;
    compare.disabled = !runs.length;
    compare.textContent = runs.length > 1 ? "Compare" : "Look closer";
    goOn.disabled = !single || !isIdle || Boolean(run.damage);
    begin.disabled = goOn.disabled || !run?.steps;
    copy.disabled = !single || Boolean(run.damage);
    report.disabled = !single;
    remove.disabled = !isIdle;
    this.chosenText.textContent = single
      ? `Run ${run.name}`
      : runs.length
        ? `${runs.length} runs, ${sizeText(runs.reduce((sum, one) => sum + one.size, 0))}`
        : "Choose a run, or several with Ctrl or Shift.";
    this.retell();
  }

  // The rows that are seen say how they differ from what is chosen now.
  retell() {
    for (const run of this.shown ?? []) {
      const row = this.list.rows.get(run.name);
      if (row) tellDifference(row, run, this.differsOf(run));
    }
  }

  say(text) {
    this.message.textContent = text;
  }

  // Do something with the chosen run; its sentence, or why it could not be done, is told.
  async act(work) {
    const [run] = this.chosen;
    if (!run) return;
    try {
      this.say(await work(run));
    } catch (error) {
      this.say(error.message);
    }
  }

  goOn() {
    return this.act(async (run) => {
      const settings = await getJSON("/lora_loop/runs/settings", { run: run.name });
      const own =
        { stopped: { continue_stopped: true }, finished: { continue_from: run.name } }[run.status] ??
        {};
      const how =
        run.status === "finished"
          ? "Run trains as many steps again from its end, as a run of its own."
          : `Run goes on after step ${run.steps}.`;
      return this.sentence(putSettings(settings, own), [...settings.notes, how]);
    });
  }

  begin() {
    return this.act(async (run) => {
      const settings = await getJSON("/lora_loop/runs/settings", { run: run.name });
      return this.sentence(putBeginning(run.name, settings), [
        `Run begins a new run with the LoRA of ${run.name}.`,
      ]);
    });
  }

  copy() {
    return this.act(async (run) => {
      const settings = await getJSON("/lora_loop/runs/settings", { run: run.name });
      return this.sentence(putSettings(settings), settings.notes);
    });
  }

  sentence({ train, told }, notes) {
    const done = told.length ? ` ${told.join("; ")}.` : "";
    return [`Set in ${train}.${done} Ctrl+Z takes it back.`, ...notes].join(" ");
  }

  report() {
    return this.act(async (run) => {
      const { path, name, subfolder } = await postJSON("/lora_loop/runs/report", { run: run.name });
      const query = { filename: name, subfolder, type: "output" };
      element(null, "a", { href: imageURL("/view", query), download: name }).click();
      return `Written: ${path}. Look through it before you send it.`;
    });
  }

  async delete() {
    const runs = this.chosen.filter(({ status }) => status !== NOW);
    if (!runs.length) return;
    const what = runs.length === 1 ? `The run ${runs[0].name}` : `${runs.length} runs`;
    const yes = await app.extensionManager.dialog.confirm({
      title: "Move to the trash?",
      message: `${what} can be brought back for 14 days.`,
    });
    if (!yes) return;
    const [gone, stay] = await this.each(runs, "/lora_loop/runs/delete");
    this.trashed.push(...gone);
    this.undo.hidden = !this.trashed.length;
    this.say([gone.length ? `${gone.length} moved to the trash.` : "", ...stay].join(" ").trim());
    await this.refresh();
  }

  async restore() {
    const names = this.trashed.splice(0).map((name) => ({ name }));
    const [back, stay] = await this.each(names, "/lora_loop/runs/restore");
    this.undo.hidden = true;
    this.say([back.length ? `${back.length} brought back.` : "", ...stay].join(" ").trim());
    await this.refresh();
    this.list.choose(back);
    this.list.box.focus();
  }

  // One after the other: the names of which it was done, and why not of the others.
  async each(runs, path) {
    const [done, problems] = [[], []];
    for (const { name } of runs) {
      try {
        await postJSON(path, { run: name });
        done.push(name);
      } catch (error) {
        problems.push(error.message);
      }
    }
    return [done, problems];
  }

  compare() {
    const runs = this.chosen;
    if (runs.length) openComparison(runs, this.usual, () => this.list.box.focus());
  }
}

// The same run as if nothing had been set.
const untouched = (run) => ({ ...run, settings: {}, inputs: { ...run.inputs, origin: "" } });

// No shortcut of the graph: what is typed here is meant for this page. Undo and its kind are the graph's.
function keepFromGraph(event) {
  if (!event.ctrlKey && !event.metaKey) event.stopPropagation();
  else if ("zy".includes(event.key.toLowerCase()) && event.target.tagName !== "INPUT")
    event.preventDefault(); // the browser would bring back what was typed into the filter
}

export const runsPage = {
  id: "runs",
  title: "Runs",
  render(root) {
    stylesheet(new URL("./runs.css", import.meta.url));
    const page = new RunsPage(root);
    return () => page.end();
  },
};
