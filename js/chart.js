// Curves of trainings, drawn by uPlot: one with all that is known of it, or several over each other.
import uPlot from "./vendor/uPlot.esm.js";
import { element, stylesheet } from "./dom.js";
import { duration, loss, rate } from "./format.js";

// A curve has columns of equal length, as GET /lora_loop/run/curve gives them: steps, seconds, loss,
// smoothed, rate, difference; and marks [{step, kind}].
// Of several curves, in their order.
export const COLOURS = ["#4aa3ff", "#ff9f40", "#5ac878", "#e8615a", "#b48cff", "#e0c341", "#3cc8c8", "#ff7ab8"];
const RAW = "#4aa3ff66";
const DIFFERENCE = "#5ac878";
const RATE = "#b48cff";
const MARKS = { preview: "#e0c34166", checkpoint: "#5ac87899", resume: "#e8615a99" };
const COLOUR_OF = { loss: "#4aa3ffaa", smoothed: COLOURS[0], validation: DIFFERENCE, "learning rate": RATE };
const AXIS_WIDTH = 46;

stylesheet(new URL("./vendor/uPlot.min.css", import.meta.url));
stylesheet(new URL("./chart.css", import.meta.url));

export class CurveChart {
  #parent;
  #plot = null;
  #hover;
  #curves = [];
  #by = "steps";
  #frame = 0;
  #shape = "";
  #observer;

  constructor(parent) {
    this.#parent = element(parent, "div", { className: "lora-loop-chart" });
    this.#hover = element(this.#parent, "div", { className: "lora-loop-chart-hover" });
    this.#observer = new ResizeObserver(() => this.#resize());
    this.#observer.observe(this.#parent);
  }

  // curves: [{name, ...columns}]. One shows all its columns, several their smoothed losses.
  show(curves, by = this.#by) {
    this.#curves = curves;
    this.#by = by;
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  destroy() {
    cancelAnimationFrame(this.#frame);
    this.#observer.disconnect();
    this.#plot?.destroy();
    this.#parent.remove();
  }

  #size() {
    return { width: this.#parent.clientWidth, height: this.#parent.clientHeight };
  }

  #resize() {
    const { width, height } = this.#size();
    if (!width || !height) return;
    if (this.#plot) this.#plot.setSize({ width, height });
    else if (this.#curves.length) this.show(this.#curves);
  }

  #draw() {
    this.#frame = 0;
    const { width, height } = this.#size();
    if (!width || !height) return; // drawn when it has a size
    const [series, data] = this.#curves.length === 1 ? this.#one() : this.#several();
    const shape = this.#by + series.map((one) => one.label).join("\n");
    if (this.#plot && shape === this.#shape) {
      this.#plot.setData(data);
      return this.#tell(this.#plot);
    }
    this.#plot?.destroy();
    this.#shape = shape;
    this.#plot = new uPlot({ width, height, ...this.#options(series) }, data, this.#parent);
    this.#tell(this.#plot);
  }

  #one() {
    const [curve] = this.#curves;
    const known = (column) => curve[column]?.some((value) => value != null);
    const lone = { show: (plot, index) => plot.data[index].length < 2 }; // a line needs two points
    const series = [{}, { label: "loss", scale: "loss", stroke: RAW, points: lone }];
    const data = [curve[this.#by], curve.loss];
    const add = (column, style) => {
      if (!known(column)) return;
      series.push(style);
      data.push(curve[column]);
    };
    add("smoothed", { label: "smoothed", scale: "loss", stroke: COLOURS[0], width: 2, points: lone });
    add("difference", {
      label: "validation",
      scale: "difference",
      stroke: DIFFERENCE,
      width: 1.5,
      spanGaps: true,
      points: { show: true, size: 5, fill: DIFFERENCE },
    });
    add("rate", { label: "learning rate", scale: "rate", stroke: RATE, dash: [4, 4], points: lone });
    return [series, data];
  }

  #several() {
    const tables = this.#curves.map((curve) => [curve[this.#by], curve.smoothed]);
    const series = this.#curves.map((curve, index) => ({
      label: curve.name,
      scale: "loss",
      stroke: COLOURS[index % COLOURS.length],
      width: 1.5,
      spanGaps: true,
      points: { show: false },
    }));
    return [[{}, ...series], tables.length ? uPlot.join(tables) : [[]]];
  }

  #options(series) {
    const style = getComputedStyle(this.#parent);
    const text = style.color;
    const grid = { stroke: style.borderColor, width: 1 };
    const axis = { stroke: text, grid, ticks: { show: false }, font: "10px sans-serif" };
    const has = (scale) => series.some((one) => one.scale === scale);
    const axes = [
      { ...axis, size: 20, values: (_, ticks) => ticks.map((tick) => this.#abscissa(tick)) },
      { ...axis, scale: "loss", size: AXIS_WIDTH },
    ];
    if (has("difference"))
      axes.push({ ...axis, scale: "difference", side: 1, size: AXIS_WIDTH, grid: { show: false } });
    return {
      series,
      axes,
      scales: { x: { time: false } },
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        move: (plot, left, top) => this.#unzoomed(plot, left, top),
      },
      hooks: { setCursor: [(plot) => this.#tell(plot)], draw: [(plot) => this.#mark(plot)] },
    };
  }

  #abscissa(value) {
    return this.#by === "steps" ? String(value) : duration(value);
  }

  // ComfyUI zooms the page's elements with the graph, which uPlot does not know of.
  #unzoomed(plot, left, top) {
    const zoom = plot.over.getBoundingClientRect().width / plot.over.offsetWidth || 1;
    return [left / zoom, top / zoom];
  }

  #tell(plot) {
    const { idx } = plot.cursor;
    if (idx == null) return this.#explain(plot);
    const parts = plot.series.slice(1).map((series, index) => {
      const value = plot.data[index + 1][idx];
      if (value == null) return null;
      return `${series.label} ${series.scale === "rate" ? rate(value) : loss(value)}`;
    });
    const at = `${this.#by === "steps" ? "step " : ""}${this.#abscissa(plot.data[0][idx])}`;
    this.#hover.textContent = [at, ...parts.filter(Boolean)].join(" · ");
  }

  // What the colours mean, while the cursor is elsewhere.
  #explain(plot) {
    this.#hover.replaceChildren();
    if (this.#curves.length !== 1) return;
    const say = (text, color) => Object.assign(element(this.#hover, "span", { text: `${text} ` }).style, { color });
    for (const { label, stroke } of plot.series.slice(1)) say(`— ${label}`, COLOUR_OF[label] ?? stroke);
    const kinds = new Set((this.#curves[0].marks ?? []).map((mark) => mark.kind));
    for (const kind of kinds) say(`| ${kind}`, MARKS[kind].slice(0, 7));
  }

  #mark(plot) {
    const marks = this.#curves.length === 1 ? (this.#curves[0].marks ?? []) : [];
    const { ctx } = plot;
    const { left, top, width, height } = plot.bbox;
    ctx.save();
    for (const { step, kind } of marks) {
      const x = plot.valToPos(this.#place(step), "x", true);
      if (!(x >= left && x <= left + width)) continue;
      ctx.fillStyle = MARKS[kind];
      ctx.fillRect(Math.round(x), top, uPlot.pxRatio, height);
    }
    ctx.restore();
  }

  // Where a step lies on the axis.
  #place(step) {
    if (this.#by === "steps") return step;
    const { steps, seconds } = this.#curves[0];
    const index = steps.findIndex((other) => other >= step);
    return seconds[index < 0 ? seconds.length - 1 : index] ?? 0;
  }
}
