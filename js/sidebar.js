// LoRA Loop in the sidebar: one tab that holds the pack's pages.
import { app } from "./comfy.js";
import { datasetPage } from "./dataset/page.js";
import { runsPage } from "./runs/page.js";

const TAB = "lora_loop";
const PAGES = [datasetPage, runsPage]; // each {id, title, render(element)}, which gives a function that takes it away

const BAR = "display:flex;gap:4px;padding:8px 10px 0;border-bottom:1px solid var(--border-color,#4e4e4e)";
const BUTTON =
  "padding:6px 14px;cursor:pointer;border:0;border-bottom:2px solid transparent;background:none;" +
  "font:inherit;color:var(--descrip-text,#999)";
const CHOSEN =
  "border-bottom-color:var(--p-primary-color,#4a9eff);color:var(--input-text,#ddd);font-weight:600";

let shown = PAGES[0].id; // stays while the tab is closed
let close = null;

function render(element) {
  leave();
  element.style.cssText = "display:flex;flex-direction:column;height:100%;min-height:0;min-width:0";
  const bar = document.createElement("div");
  bar.setAttribute("role", "tablist");
  const place = document.createElement("div");
  place.setAttribute("role", "tabpanel");
  place.style.cssText = "flex:1;min-height:0;min-width:0";
  element.replaceChildren(bar, place);

  function show(page, focus = false) {
    leave();
    shown = page.id;
    for (const button of bar.children) {
      const isChosen = button.dataset.page === page.id;
      button.style.cssText = BUTTON + (isChosen ? `;${CHOSEN}` : "");
      button.setAttribute("aria-selected", isChosen);
      button.tabIndex = isChosen ? 0 : -1;
      if (isChosen && focus) button.focus();
    }
    place.setAttribute("aria-label", page.title);
    place.replaceChildren();
    close = page.render(place);
  }

  bar.style.cssText = BAR;
  for (const page of PAGES) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = page.title;
    button.dataset.page = page.id;
    button.setAttribute("role", "tab");
    button.addEventListener("click", () => show(page));
    bar.append(button);
  }
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    event.stopPropagation();
    if (!step) return;
    const place = PAGES.findIndex((page) => page.id === shown) + step + PAGES.length;
    show(PAGES[place % PAGES.length], true);
  });
  show(PAGES.find((page) => page.id === shown));
}

function leave() {
  close?.();
  close = null;
}

app.registerExtension({
  name: "LoraLoop.Sidebar",
  setup() {
    app.extensionManager.sidebarTab.registerSidebarTab({
      id: TAB,
      icon: "pi pi-images",
      title: "LoRA Loop",
      tooltip: "LoRA Loop",
      type: "custom",
      render,
      destroy: leave,
    });
  },
});
