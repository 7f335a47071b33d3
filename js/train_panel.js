// The widget on Train: how the training stands, its curve, its previews, and what can be done.
import { CurveChart } from "./chart.js";
import { imageURL, postJSON, toast } from "./comfy.js";
import { button, element, ownKeys, stylesheet } from "./dom.js";
import { bytes, loss } from "./format.js";
import { openViewer } from "./viewer.js";

const TRAINING = "/lora_loop/training";
const PREVIEW = "/lora_loop/run/preview";
const THUMB = 64; // px high, as in the CSS
const EMPTY = "Press Run: the loss is drawn here, and previews come below.";

stylesheet(new URL("./train_panel.css", import.meta.url));

const isRunning = (training) => ["preparing", "training"].includes(training?.state);

// The addresses of a preview: as it is, and small.
export function previewPicture(run, preview) {
  const { name, version, step, prompt, strength, width, height } = preview;
  const query = { run, name, version };
  return {
    url: imageURL(PREVIEW, query),
    small: imageURL(PREVIEW, { ...query, small: 1 }),
    title: `step ${step} · prompt ${prompt + 1} · strength ${strength} · ${width} × ${height}`,
  };
}

export class TrainPanel {
  #line;
  #facts;
  #chart;
  #strip;
  #shown = ""; // the previews that the strip has
  #buttons = {};
  #by = "steps";
  #training = null;

  constructor() {
    this.element = element(null, "div", { className: "lora-loop-train" });
    this.#line = element(this.element, "div", { className: "lora-loop-train-line", text: EMPTY });
    const box = element(this.element, "div", { className: "lora-loop-train-chart" });
    this.#chart = new CurveChart(box);
    this.#facts = element(this.element, "div", { className: "lora-loop-train-facts" });
    this.#strip = element(this.element, "div", { className: "lora-loop-train-strip", tabIndex: 0 });
    this.#strip.dataset.captureWheel = "true";
    const row = element(this.element, "div", { className: "lora-loop-train-buttons" });
    const command = (name, text, title) => {
      this.#buttons[name] = button(row, text, title, () => this.#ask(name));
    };
    command("stop", "Stop and keep", "End after this step; what it has reached comes out.");
    command("pause", "Pause", "Keep the state and let the queue go on, until you press Resume.");
    command("checkpoint", "Checkpoint", "Write a LoRA file of this step into the run's folder.");
    command("preview", "Preview", "Sample the previews of this step.");
    this.#buttons.by = button(row, "by step", "Draw by steps or by time.", () => this.#turn());
    ownKeys(this.element);
    this.show(null);
  }

  // What there is to show; null: nothing yet.
  show(training) {
    this.#training = training;
    const text = training ? describe(training) : EMPTY;
    this.#line.textContent = text;
    this.#line.title = text;
    this.#line.dataset.state = training?.state ?? "";
    const facts = training ? numbers(training) : "";
    this.#facts.textContent = facts;
    this.#facts.title = training?.result?.path ?? facts;
    this.#chart.show(training?.curve ? [{ name: training.run, ...training.curve }] : [], this.#by);
    this.#showPreviews();
    this.#showButtons();
  }

  destroy() {
    this.#chart.destroy();
    this.element.remove();
  }

  #showButtons() {
    const training = this.#training;
    const runs = isRunning(training);
    const isPaused = training?.state === "paused";
    for (const name of ["stop", "checkpoint"]) this.#buttons[name].disabled = !runs;
    this.#buttons.preview.disabled = !runs || training.previews_possible === false;
    this.#buttons.pause.disabled = !runs && !isPaused;
    this.#buttons.pause.textContent = isPaused ? "Resume" : "Pause";
    this.#buttons.by.textContent = this.#by === "steps" ? "by step" : "by time";
  }

  #showPreviews() {
    const { run, previews = [] } = this.#training ?? {};
    const shown = JSON.stringify([run, previews]);
    if (shown === this.#shown) return;
    this.#shown = shown;
    const hasStrengths = previews.some(({ strength }) => strength !== 1);
    const pictures = previews.map((preview) => previewPicture(run, preview));
    const follows = this.#strip.scrollLeft + this.#strip.clientWidth >= this.#strip.scrollWidth - 4;
    this.#strip.replaceChildren();
    pictures.forEach(({ small, title }, index) => {
      const frame = button(this.#strip, "", title, () => openViewer(pictures, index), "lora-loop-thumb");
      element(frame, "img", { src: small, alt: title, loading: "lazy", draggable: false });
      const { step, strength, width, height } = previews[index];
      frame.style.width = `${(THUMB * width) / height}px`; // before the image is there: the strip follows the last
      element(frame, "span", { text: hasStrengths ? `${step} · ${strength}` : step });
    });
    if (follows) this.#strip.scrollLeft = this.#strip.scrollWidth;
  }

  #turn() {
    this.#by = this.#by === "steps" ? "seconds" : "steps";
    this.show(this.#training);
  }

  async #ask(name) {
    const { node, workflow, state } = this.#training;
    const command = name === "pause" && state === "paused" ? "resume" : name;
    const pressed = this.#buttons[name];
    pressed.disabled = true;
    try {
      await postJSON(TRAINING, { node, workflow, command });
    } catch (error) {
      toast("warn", "LoRA Loop", error.message);
      this.#showButtons();
    }
  }
}

// The line: what is done, or how it ended.
function describe({ state, line, result }) {
  if (state !== "ended" || !result) return line;
  const parts = [
    `${result.trained ? "trained" : "stored result:"} ${result.steps} steps`,
    `loss ${loss(result.loss)}`,
    result.best && `best step ${result.best}`,
    result.stopped,
  ];
  return parts.filter(Boolean).join(" · ");
}

function numbers({ epoch, epochs, peak_vram: peak, plan, state, run, result }) {
  const parts = [
    epoch && epochs && `epoch ${epoch}/${epochs}`,
    peak && `peak ${bytes(peak)}`,
    result?.path ? result.path.split(/[\\/]/).at(-1) : state !== "ended" && plan,
    `run ${run}`,
  ];
  return parts.filter(Boolean).join(" · ");
}
