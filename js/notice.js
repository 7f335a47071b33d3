// A notification of the browser when a long training is over; off until it is asked for in the settings.
import { app } from "./comfy.js";
import { changed, latest } from "./trainings.js";

const SETTING = "LoraLoop.Notify";
const LONG = 60_000; // ms
const OVER = { ended: "Training is done", failed: "Training has failed" };

const begun = new Map(); // run -> when the page saw it train

function look() {
  const training = latest();
  if (!training) return;
  const { run, state, line } = training;
  if (state === "training" && !begun.has(run)) begun.set(run, performance.now());
  if (!OVER[state] || !begun.has(run)) return;
  const took = performance.now() - begun.get(run);
  begun.delete(run);
  if (took < LONG || !app.extensionManager.setting.get(SETTING)) return;
  if (globalThis.Notification?.permission === "granted")
    new Notification(`LoRA Loop: ${OVER[state]}`, { body: line, tag: run });
}

app.registerExtension({
  name: "LoraLoop.Notice",
  settings: [
    {
      id: SETTING,
      name: "Browser notification when a training of more than a minute is over",
      category: ["LoRA Loop", "Training", "Notification"],
      type: "boolean",
      defaultValue: false,
      onChange: (wanted) => wanted && globalThis.Notification?.requestPermission(),
    },
  ],
  setup() {
    changed.addEventListener("change", look);
  },
});
