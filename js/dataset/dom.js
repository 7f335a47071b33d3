// What the Dataset page is made of.
import { make } from "../dom.js";

export { make };

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
