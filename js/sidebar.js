// The tab "LoRA Loop" in ComfyUI's sidebar, and its pages.
import { app } from "./comfy.js";
import { element, stylesheet } from "./dom.js";
import { runsPage } from "./runs/page.js";

const PAGES = [runsPage]; // each {id, title, render(element)}; render gives a function that ends the page
const SHOWN = "LoraLoop.Sidebar.Page";

let end = null; // of the page that is shown

function show(page, body, tabs) {
  end?.();
  localStorage.setItem(SHOWN, page.id);
  for (const tab of tabs) {
    const chosen = tab.id === tabId(page);
    tab.ariaSelected = String(chosen);
    tab.tabIndex = chosen ? 0 : -1;
  }
  body.replaceChildren();
  body.setAttribute("aria-labelledby", tabId(page));
  end = page.render(body);
}

const tabId = (page) => `lora-loop-tab-${page.id}`;

function walk(event, tabs) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  event.preventDefault();
  event.stopPropagation();
  const next = tabs[(tabs.indexOf(event.target) + step + tabs.length) % tabs.length];
  next.focus();
  next.click();
}

function render(parent) {
  stylesheet(new URL("./sidebar.css", import.meta.url));
  parent.style.height = "100%";
  const root = element(null, "div", { className: "lora-loop-sidebar" });
  const bar = element(root, "div", { className: "ll-tabs", role: "tablist" });
  const body = element(root, "div", { className: "ll-page", role: "tabpanel" });
  const tabs = PAGES.map((page) => {
    const tab = element(bar, "button", { id: tabId(page), role: "tab", text: page.title });
    tab.addEventListener("click", () => show(page, body, tabs));
    return tab;
  });
  bar.addEventListener("keydown", (event) => walk(event, tabs));
  parent.replaceChildren(root);
  show(PAGES.find(({ id }) => id === localStorage.getItem(SHOWN)) ?? PAGES[0], body, tabs);
}

app.registerExtension({
  name: "LoraLoop.Sidebar",
  setup() {
    app.extensionManager.sidebarTab.registerSidebarTab({
      id: "lora-loop",
      icon: "pi pi-chart-line",
      title: "LoRA Loop",
      tooltip: "LoRA Loop: runs",
      type: "custom",
      render,
      destroy() {
        end?.();
        end = null;
      },
    });
  },
});
