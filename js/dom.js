// Elements and styles, without ComfyUI.

// An element with attributes, listeners (`onclick: …`) and children.
export function make(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name in made && !name.includes("-") && name !== "role" && name !== "list") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// An element in `parent`. Text goes in as text, never as markup: names and captions of users are in it.
export function element(parent, tag, { text, title, className, ...rest } = {}) {
  const made = make(tag, rest);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  if (title) made.title = title;
  parent?.append(made);
  return made;
}

export function button(parent, text, title, onClick, className = "lora-loop-button") {
  const made = element(parent, "button", { text, title, className, type: "button" });
  made.addEventListener("click", onClick);
  return made;
}

// A style sheet of the pack, once; `url` as new URL("./x.css", import.meta.url).
export function stylesheet(url) {
  const href = String(url);
  if ([...document.styleSheets].some((sheet) => sheet.href === href)) return;
  if (document.querySelector(`link[href="${href}"]`)) return;
  element(document.head, "link", { rel: "stylesheet", href });
}

// Keys that are pressed in `area` are not the graph's.
export function ownKeys(area) {
  for (const kind of ["keydown", "keyup", "keypress", "paste", "copy", "cut"])
    area.addEventListener(kind, (event) => event.stopPropagation());
}
