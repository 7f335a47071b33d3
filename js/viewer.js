// Pictures enlarged: arrow keys walk, two can be compared with a slider, Escape closes.
import { button, element, ownKeys, stylesheet } from "./dom.js";

const SMALL = 256; // pixels: so small a picture is enlarged without blurring

stylesheet(new URL("./viewer.css", import.meta.url));

// pictures: [{url, title}]; index: the one to begin with.
export function openViewer(pictures, index) {
  const dialog = element(document.body, "dialog", { className: "lora-loop-viewer" });
  const stage = element(dialog, "div", { className: "lora-loop-viewer-stage" });
  const pinned = element(stage, "img", { className: "lora-loop-viewer-pinned", alt: "" });
  const shown = element(stage, "img", { className: "lora-loop-viewer-shown", alt: "" });
  const slider = element(dialog, "input", {
    type: "range", min: 0, max: 100, value: 50, title: "How much of each picture is shown",
  }); // prettier-ignore
  const caption = element(dialog, "p", { className: "lora-loop-viewer-caption" });
  const row = element(dialog, "div", { className: "lora-loop-viewer-buttons" });
  let held = null; // the index that the others are compared with

  for (const image of [pinned, shown])
    image.addEventListener("load", () =>
      image.classList.toggle("lora-loop-pixels", Math.max(image.naturalWidth, image.naturalHeight) <= SMALL),
    );

  function show(next) {
    index = (next + pictures.length) % pictures.length;
    const { url, title } = pictures[index];
    shown.src = url;
    shown.alt = title;
    const compares = held !== null;
    dialog.classList.toggle("lora-loop-compares", compares);
    caption.textContent = compares ? `${pictures[held].title}  |  ${title}` : title;
    compare.textContent = compares ? "Compare no more" : "Compare with…";
    slide();
  }

  function slide() {
    shown.style.clipPath = held === null ? "" : `inset(0 0 0 ${slider.value}%)`;
    stage.style.setProperty("--place", `${slider.value}%`);
  }

  function hold() {
    held = held === null ? index : null;
    pinned.src = held === null ? "" : pictures[held].url;
    pinned.hidden = held === null;
    show(held === null || pictures.length === 1 ? index : index + 1);
  }

  button(row, "‹", "The one before (←)", () => show(index - 1));
  const compare = button(row, "", "Lay the next one over this one (C)", hold);
  button(row, "›", "The next one (→)", () => show(index + 1));
  button(row, "Close", "Escape", () => dialog.close());
  slider.addEventListener("input", slide);
  stage.addEventListener("pointermove", (event) => {
    const box = stage.getBoundingClientRect();
    slider.value = ((event.clientX - box.left) / box.width) * 100;
    slide();
  });
  dialog.addEventListener("keydown", (event) => {
    const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (way && event.target !== slider) show(index + way);
    else if (event.key.toLowerCase() === "c") hold();
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  ownKeys(dialog);
  pinned.hidden = true;
  show(index);
  dialog.showModal();
  return dialog;
}
