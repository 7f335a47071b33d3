// Completion of tags: a list under (or over) a text field.
import { make } from "./dom.js";
import { suggestions } from "./tags.js";

let count = 0;

// `sources()` gives lists of [tag, how often]; `accept(text)` takes what was typed or chosen, at Enter or a click.
// Returns the field, with its list.
export function tagField({ label, placeholder, sources, accept, cancel = () => false, value = "" }) {
  const id = `ll-suggestions-${count++}`;
  const list = make("div", { className: "ll-suggestions", role: "listbox", id, hidden: true });
  const input = make("input", {
    type: "text",
    className: "ll-input",
    placeholder,
    value,
    autocomplete: "off",
    spellcheck: false,
    role: "combobox",
    "aria-label": label,
    "aria-expanded": "false",
    "aria-controls": id,
    "aria-autocomplete": "list",
    oninput: show,
    onblur: hide,
    onkeydown: key,
  });
  let chosen = -1;

  function show() {
    const found = suggestions(input.value.split(",").at(-1), sources());
    list.replaceChildren(
      ...found.map(([text, often], place) =>
        make(
          "div",
          {
            className: "ll-suggestion",
            role: "option",
            id: `${id}-${place}`,
            onmousedown: (event) => {
              event.preventDefault(); // the field keeps the focus
              take(text);
            },
          },
          make("span", { textContent: text }),
          make("span", { className: "ll-count", textContent: often || "" }),
        ),
      ),
    );
    chosen = -1;
    list.hidden = !found.length;
    input.setAttribute("aria-expanded", !list.hidden);
    if (list.hidden) return;
    const { left, top, bottom, width } = input.getBoundingClientRect();
    const isBelow = innerHeight - bottom > top;
    list.style.cssText =
      `left:${left}px;width:${Math.max(width, 200)}px;` +
      (isBelow ? `top:${bottom + 2}px` : `bottom:${innerHeight - top + 2}px`);
  }

  function hide() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
    chosen = -1;
  }

  function mark(place) {
    const rows = [...list.children];
    chosen = (place + rows.length + 1) % (rows.length + 1); // one past the end: what was typed
    rows.forEach((row, at) => row.setAttribute("aria-selected", at === chosen));
    if (chosen < rows.length) input.setAttribute("aria-activedescendant", rows[chosen].id);
    else input.removeAttribute("aria-activedescendant");
  }

  function take(text) {
    const typed = input.value.split(",").slice(0, -1);
    input.value = "";
    hide();
    accept([...typed, text].map((tag) => tag.trim()).filter(Boolean));
  }

  function key(event) {
    const rows = list.children;
    if (!list.hidden && event.key === "ArrowDown") mark(chosen + 1);
    else if (!list.hidden && event.key === "ArrowUp") mark(chosen < 0 ? rows.length - 1 : chosen - 1);
    else if (event.key === "Enter") take(rows[chosen]?.firstChild.textContent ?? input.value.split(",").at(-1));
    else if (event.key === "Escape" && !list.hidden) hide();
    else if (event.key === "Escape" && cancel()) input.value = "";
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  return make("div", { className: "ll-field" }, input, list);
}
