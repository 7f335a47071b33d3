// The tags of the images that are shown, by frequency: to filter by, to remove and to replace in all of them.
import { button, make } from "./dom.js";
import { tagField } from "./suggest.js";
import { replaceTag, tagKey } from "./tags.js";

const MOST = 200; // rows; typing finds the others

export class TagPanel {
  constructor({ model, sources, changed, say }) {
    Object.assign(this, { model, sources, changed, say });
    this.current = 0;
    this.replacing = null;
    this.search = make("input", {
      type: "search",
      className: "ll-input",
      placeholder: "Find a tag",
      "aria-label": "Find a tag",
      oninput: () => this.refresh(),
    });
    this.rows = make("div", {
      className: "ll-tags",
      role: "list",
      "data-capture-wheel": "true",
      onkeydown: (event) => this.key(event),
    });
    this.element = make("section", { className: "ll-tag-panel", "aria-label": "Tags" }, this.search, this.rows);
  }

  refresh() {
    const wanted = tagKey(this.search.value);
    const found = this.model.counts.filter(({ key }) => key.includes(wanted));
    const hadFocus = this.rows.contains(document.activeElement) && !this.replacing;
    const shown = found.slice(0, MOST);
    this.current = Math.max(0, Math.min(this.current, shown.length - 1));
    this.rows.replaceChildren(...shown.map((tag, place) => this.row(tag, place)));
    if (found.length > MOST)
      this.rows.append(make("div", { className: "ll-hint", textContent: `and ${found.length - MOST} more` }));
    if (!found.length) this.rows.append(make("div", { className: "ll-hint", textContent: "no tags" }));
    if (hadFocus) this.focus(this.current);
  }

  row({ key, text, count }, place) {
    if (this.replacing === key) return this.replaceRow(key, text, count);
    const row = make(
      "div",
      { className: "ll-tag-row", role: "listitem" },
      make("button", {
        type: "button",
        className: "ll-tag",
        textContent: text,
        title: `Show only images with ${text}`,
        onclick: () => this.filter(key, text),
      }),
      make("span", { className: "ll-count", textContent: count }),
      make("button", {
        type: "button",
        className: "ll-icon pi pi-pencil",
        title: `Replace ${text} in all shown (F2)`,
        "aria-label": `Replace ${text} in all shown`,
        onclick: () => this.replace(key),
      }),
      make("button", {
        type: "button",
        className: "ll-icon pi pi-times",
        title: `Remove ${text} from all shown (Delete)`,
        "aria-label": `Remove ${text} from all shown`,
        onclick: () => this.put(key, text, []),
      }),
    );
    for (const one of row.querySelectorAll("button")) one.tabIndex = place === this.current ? 0 : -1;
    Object.assign(row, { tagKey: key, tagText: text, place });
    return row;
  }

  replaceRow(key, text, count) {
    const field = tagField({
      label: `Replace ${text} by`,
      placeholder: `${text} → …`,
      sources: this.sources,
      accept: (tags) => {
        this.replacing = null;
        if (tags.length) this.put(key, text, tags);
        this.refresh();
        this.focus(this.current);
      },
      cancel: () => {
        this.replacing = null;
        this.refresh();
        this.focus(this.current);
        return true;
      },
    });
    return make(
      "div",
      { className: "ll-tag-row", role: "listitem" },
      field,
      make("span", { className: "ll-count", textContent: `in ${count}` }),
    );
  }

  replace(key) {
    this.replacing = key;
    this.refresh();
    this.rows.querySelector("input")?.focus();
  }

  filter(key, text) {
    const tags = this.model.filter.tags.filter((tag) => tag.key !== key);
    const isNew = tags.length === this.model.filter.tags.length;
    this.model.setFilter({ tags: isNew ? [...tags, { key, text }] : tags });
    this.changed();
  }

  put(key, text, tags) {
    const changes = this.model.shown
      .filter((image) => this.model.tags(image).some(([own]) => own === key))
      .map((image) => [image, { caption: replaceTag(image.now.caption, key, tags) }]);
    this.model.apply(changes);
    const what = tags.length ? `${text} → ${tags.join(", ")}` : `${text} removed`;
    this.say(`${what} in ${changes.length} caption(s). Ctrl+Z takes it back.`);
    this.changed();
  }

  key(event) {
    const row = event.target.closest(".ll-tag-row");
    if (!row || event.target.tagName === "INPUT") return;
    if (event.key === "ArrowDown") this.focus(row.place + 1);
    else if (event.key === "ArrowUp") this.focus(row.place - 1);
    else if (event.key === "Delete") this.put(row.tagKey, row.tagText, []);
    else if (event.key === "F2") this.replace(row.tagKey);
    else return;
    event.preventDefault();
  }

  focus(place) {
    const rows = [...this.rows.querySelectorAll(".ll-tag-row")].filter((row) => row.tagKey !== undefined);
    if (!rows.length) return;
    this.current = Math.max(0, Math.min(place, rows.length - 1));
    rows.forEach((row, at) => {
      for (const one of row.querySelectorAll("button")) one.tabIndex = at === this.current ? 0 : -1;
    });
    rows[this.current].querySelector("button").focus();
  }
}
