// Small numbers as the field writes them: 3e-5 on classic nodes, and in Nodes 2.0, which draws them itself, with
// as many decimals as the smallest needs. Else a rate of 1e-8 looks like none.
import { app } from "../comfy.js";
import { rate } from "../format.js";

const OURS = "LoraLoop";
const SMALL = 1e-5; // a step of this size or less
const DECIMALS = 8;

function write(widget) {
  widget.options.precision = Math.max(widget.options.precision ?? 0, DECIMALS);
  Object.defineProperty(widget, "_displayValue", {
    configurable: true,
    get: () => (widget.computedDisabled ? "" : rate(widget.value)),
  });
}

app.registerExtension({
  name: "LoraLoop.Rates",
  nodeCreated(node) {
    if (!node.comfyClass?.startsWith(OURS)) return;
    for (const widget of node.widgets ?? [])
      if (widget.type === "number" && (widget.options.step2 ?? 1) <= SMALL) write(widget);
  },
});
