// Which images are shown: by text, by tags and by flags.
import { make, setText } from "./dom.js";
import { tagField } from "./suggest.js";
import { tagKey } from "./tags.js";

export class Filters {
  constructor({ model, changed }) {
    Object.assign(this, { model, changed });
    this.count = make("span", { className: "ll-hint", role: "status" });
    this.element = make("div", { className: "ll-row ll-filters", role: "group", "aria-label": "Filters" });
    this.search = tagField({
      label: "Show only images with",
      placeholder: "Filter by tag, caption or name",
      value: model.filter.text,
      sources: () => [model.counts.map(({ text, count }) => [text, count])],
      accept: (typed) => this.take(typed),
    });
    this.input = this.search.querySelector("input");
    this.input.addEventListener("input", () => this.put({ text: this.input.value }));
  }

  put(change) {
    this.model.setFilter(change);
    this.changed();
  }

  // A tag of this dataset becomes a filter of its own; other text stays in the field.
  take(typed) {
    const { filter, counts } = this.model;
    const known = new Map(counts.map((tag) => [tag.key, tag]));
    const tags = typed.map((text) => known.get(tagKey(text))).filter(Boolean);
    if (tags.length) this.put({ text: "", tags: [...filter.tags, ...tags] });
    else this.input.value = filter.text;
  }

  refresh() {
    const { model } = this;
    const { filter } = model;
    const counts = model.flagCounts();
    const flags = model.flags.filter((flag) => counts[flag] || filter.flags.includes(flag));
    const focused = this.element.contains(document.activeElement) && document.activeElement.dataset.name;
    const without = (list, gone) => list.filter((one) => one !== gone);
    this.element.replaceChildren(
      ...filter.tags.map((tag) =>
        toggle(`tag ${tag.key}`, tag.text, "", true, () => this.put({ tags: without(filter.tags, tag) })),
      ),
      ...flags.map((flag) => {
        const isOn = filter.flags.includes(flag);
        const after = isOn ? without(filter.flags, flag) : [...filter.flags, flag];
        return toggle(flag, flag, counts[flag], isOn, () => this.put({ flags: after }));
      }),
    );
    this.element.hidden = !this.element.children.length;
    [...this.element.children].find((one) => one.dataset.name === focused)?.focus();
    const { length } = model.images;
    const isAll = model.shown.length === length;
    setText(this.count, isAll ? `${length} images` : `${model.shown.length} of ${length} images`);
  }
}

function toggle(name, text, count, isOn, onclick) {
  const made = make(
    "button",
    { type: "button", className: `ll-toggle${isOn ? " ll-on" : ""}`, "aria-pressed": isOn, onclick },
    make("span", { textContent: text }),
    make("span", { className: "ll-count", textContent: isOn ? "×" : count }),
  );
  made.dataset.name = name;
  return made;
}
