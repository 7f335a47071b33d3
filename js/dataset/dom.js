// Elements made in one line. Texts of users are set as text, never as markup.
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

export const button = (text, title, onclick, className = "") =>
  make("button", { type: "button", className: `ll-button ${className}`, textContent: text, title, onclick });

// A button that shows a sign; its name is read out.
export function arrow(sign, name, title, onclick) {
  const made = button(sign, title, onclick, "ll-arrow");
  made.setAttribute("aria-label", name);
  return made;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
