// Every kind of wire of ours has its colour, in both renderers.
import { app, paintWires, styleWires } from "../comfy.js";

const COLOURS = {
  LORA_LOOP_DATASET: "#7fd1ae",
  LORA_LOOP_CACHE: "#4fb3d9",
  LORA_LOOP_LORA_SETTINGS: "#f2a65a",
  LORA_LOOP_OPTIMISER_SETTINGS: "#e8785e",
  LORA_LOOP_LOSS_SETTINGS: "#d96c9a",
  LORA_LOOP_CAPTION_SETTINGS: "#a9cf5b",
  LORA_LOOP_PREVIEW_SETTINGS: "#c58af0",
  LORA_LOOP_CHECKPOINT_SETTINGS: "#8f9bf2",
  LORA_LOOP_VALIDATION_SETTINGS: "#5fd3c9",
  LORA_LOOP_SPEED_SETTINGS: "#b8a27a",
  LORA_LOOP_BUCKET_SETTINGS: "#6f9f78",
  LORA_LOOP_RUN_SETTINGS: "#e3cf57",
};

app.registerExtension({
  name: "LoraLoop.LinkColours",
  setup: () => styleWires(COLOURS),
  afterConfigureGraph: () => paintWires(COLOURS), // a palette that was loaded has set all of them back
});
