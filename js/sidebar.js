// The tab "LoRA Loop" in ComfyUI's sidebar, and its pages.
import { app } from "./comfy.js";
import { runsPage } from "./runs/page.js";

const PAGES = [runsPage]; // each {id, title, render(element)}; render gives a function that ends the page
const SHOWN = "LoraLoop.Sidebar.Page";

function stylesheet(name) {
  const href = new URL(name, import.meta.url).href;
  if (document.querySelector(`link[href="${href}"]`)) return;
  const link = Object.assign(document.createElement("link"), { rel: "stylesheet", href });
  document.head.append(link);
}

let end = null; // of the page that is shown

function show(page, body, tabs) {
  end?.();
  localStorage.setItem(SHOWN, page.id);
  for (const tab of tabs) {
    const chosen = tab.id === tabId(page);
    tab.setAttribute("aria-selected", String(chosen));
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

function render(element) {
  stylesheet("sidebar.css");
  const root = document.createElement("div");
  root.className = "lora-loop-sidebar";
  const bar = document.createElement("div");
  bar.className = "ll-tabs";
  bar.setAttribute("role", "tablist");
  const body = document.createElement("div");
  body.className = "ll-page";
  body.setAttribute("role", "tabpanel");
  const tabs = PAGES.map((page) => {
    const tab = document.createElement("button");
    tab.id = tabId(page);
    tab.setAttribute("role", "tab");
    tab.textContent = page.title;
    tab.addEventListener("click", () => show(page, body, tabs));
    bar.append(tab);
    return tab;
  });
  bar.addEventListener("keydown", (event) => walk(event, tabs));
  root.append(bar, body);
  element.style.height = "100%";
  element.replaceChildren(root);
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
