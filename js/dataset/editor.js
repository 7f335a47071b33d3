// One image and its caption, as chips and as text, below the grid.
import { arrow, make, setText } from "./dom.js";
import { bucketTitle, sizeText } from "./grid.js";
import { tagField } from "./suggest.js";
import { addTags, changeParts, readParts } from "./tags.js";

export class Editor {
  // `step(by)` goes to another image, `closed()` is told when the editor was closed.
  constructor({ model, picture, sources, changed, step, closed }) {
    Object.assign(this, { model, picture, sources, changed, step, closed, image: null });
    this.name = make("div", { className: "ll-editor-name" });
    this.facts = make("div", { className: "ll-facts" });
    this.why = make("div", { className: "ll-facts" });
    this.shown = make("img", { className: "ll-large", alt: "", draggable: false });
    this.chips = make("div", {
      className: "ll-chips",
      role: "list",
      "aria-label": "Tags of this caption",
      onkeydown: (event) => this.chipKey(event),
    });
    this.text = make("textarea", {
      className: "ll-input ll-text",
      rows: 4,
      spellcheck: false,
      placeholder: "no caption",
      "aria-label": "Caption as text",
      "data-capture-wheel": "true",
      onchange: () => this.commit(),
      onkeydown: (event) => this.textKey(event),
    });
    this.add = tagField({
      label: "Add a tag",
      placeholder: "Add tags, Enter",
      sources,
      accept: (tags) => this.put({ caption: addTags(this.image.now.caption, tags) }),
    });
    this.leftOut = make("input", {
      type: "checkbox",
      onchange: () => this.put({ leftOut: this.leftOut.checked }),
    });
    this.weight = make("input", {
      type: "number",
      className: "ll-input ll-weight",
      min: 0,
      max: 100,
      step: 0.1,
      title: "The loss of this image is multiplied by this, 0 to 100.",
      onchange: () => this.weigh(),
    });
    this.element = this.assemble();
  }

  assemble() {
    return make(
      "section",
      {
        className: "ll-editor",
        hidden: true,
        "aria-label": "Caption",
        onkeydown: (event) => this.key(event),
      },
      make(
        "div",
        { className: "ll-row" },
        arrow("‹", "Previous image", "Previous image (Page Up)", () => this.go(-1)),
        arrow("›", "Next image", "Next image (Page Down)", () => this.go(1)),
        this.name,
        arrow("×", "Close", "Close (Escape)", () => this.close()),
      ),
      make(
        "div",
        { className: "ll-editor-body" },
        make("div", { className: "ll-side" }, this.shown, this.facts),
        make(
          "div",
          { className: "ll-words" },
          this.chips,
          this.add,
          this.text,
          make(
            "div",
            { className: "ll-row" },
            make("label", { className: "ll-label" }, this.leftOut, "leave out"),
            make("label", { className: "ll-label" }, "weight", this.weight),
          ),
          this.why,
        ),
      ),
    );
  }

  open(image, isFocused = true) {
    this.image = image;
    this.element.hidden = false;
    this.refresh();
    if (isFocused) this.add.querySelector("input").focus({ preventScroll: true });
  }

  close() {
    if (this.element.hidden) return;
    this.commit();
    this.element.hidden = true;
    this.image = null;
    this.closed();
  }

  refresh() {
    const { image, model } = this;
    if (!image) return;
    setText(this.name, `${model.folders[image.folder].name}/${image.name}`);
    setText(this.facts, sizeText(image));
    this.facts.title = bucketTitle(image, model);
    setText(this.why, Object.entries(image.flags).map(([flag, why]) => `${flag}: ${why}`).join("\n"));
    const address = this.picture(image);
    if (this.shown.getAttribute("src") !== address) this.shown.src = address;
    if (this.text.value !== image.now.caption) this.text.value = image.now.caption;
    this.leftOut.checked = image.now.leftOut;
    this.weight.value = image.now.weight;
    this.weight.disabled = image.now.leftOut;
    this.drawChips();
  }

  drawChips() {
    const focused = [...this.chips.querySelectorAll("button")].indexOf(document.activeElement);
    const lines = this.image.now.caption.split("\n").map(readParts);
    const chips = [];
    lines.forEach((parts, line) => {
      if (line > 0) chips.push(make("div", { className: "ll-break" }));
      parts.forEach((part, place) => chips.push(this.chip(part, line, place)));
    });
    this.chips.replaceChildren(...chips);
    if (focused >= 0) this.focusChip(focused);
  }

  chip({ text, isMark }, line, place) {
    const chip = make("button", {
      type: "button",
      className: `ll-chip${isMark ? " ll-mark" : ""}`,
      title: "Click or Enter: edit. Delete: remove. Alt and arrows: move.",
      onclick: () => this.rename(line, place, text),
    });
    const remove = make("span", {
      className: "ll-remove",
      textContent: "×",
      title: `Remove ${text}`,
      onclick: (event) => {
        event.stopPropagation();
        this.change(line, (parts) => parts.filter((_, at) => at !== place));
      },
    });
    chip.append(make("span", { textContent: text }), remove);
    Object.assign(chip, { line, place });
    return chip;
  }

  // A chip becomes a field until Enter or Escape.
  rename(line, place, text) {
    const chip = [...this.chips.children].find((one) => one.line === line && one.place === place);
    const done = (tags) => {
      this.change(line, (parts) => parts.flatMap((part, at) => (at === place ? newParts(tags) : [part])));
      this.drawChips();
      this.focusChip(this.chipNumber(line, place));
    };
    const field = tagField({
      label: `Instead of ${text}`,
      placeholder: text,
      value: text,
      sources: this.sources,
      accept: done,
      cancel: () => {
        done([text]);
        return true;
      },
    });
    const input = field.querySelector("input");
    input.size = Math.max(6, text.length);
    chip.replaceWith(field);
    input.focus();
    input.select();
    input.addEventListener("blur", () => field.isConnected && this.drawChips());
  }

  chipNumber(line, place) {
    const chips = [...this.chips.querySelectorAll("button")];
    return chips.findIndex((one) => one.line === line && one.place === place);
  }

  focusChip(number) {
    const chips = this.chips.querySelectorAll("button");
    const target = chips[Math.min(number, chips.length - 1)] ?? this.add.querySelector("input");
    target.focus({ preventScroll: true });
  }

  chipKey(event) {
    const chip = event.target;
    if (chip.tagName !== "BUTTON") return;
    const number = this.chipNumber(chip.line, chip.place);
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && event.altKey) {
      const to = chip.place + by;
      this.change(chip.line, (parts) => {
        if (to < 0 || to >= parts.length) return parts;
        const moved = [...parts];
        [moved[chip.place], moved[to]] = [moved[to], moved[chip.place]];
        return moved;
      });
      this.focusChip(Math.max(0, this.chipNumber(chip.line, to)));
    } else if (by) this.focusChip(Math.max(0, number + by));
    else if (event.key === "Delete" || event.key === "Backspace")
      this.change(chip.line, (parts) => parts.filter((_, at) => at !== chip.place));
    else return;
    event.preventDefault();
  }

  change(line, change) {
    let number = -1;
    const caption = changeParts(this.image.now.caption, (parts) => (++number === line ? change(parts) : parts));
    this.put({ caption });
  }

  put(fields) {
    if (this.model.apply([[this.image, fields]])) this.changed();
    else this.refresh();
  }

  weigh() {
    const weight = this.weight.valueAsNumber;
    if (weight >= 0 && weight <= 100) this.put({ weight });
    else this.refresh(); // as it was
  }

  commit() {
    if (this.image && this.text.value !== this.image.now.caption) this.put({ caption: this.text.value });
  }

  // What is typed and not part of the caption yet: the field's own undo is meant.
  hasTyped(element) {
    if (element === this.text) return this.text.value !== this.image?.now.caption;
    return element.matches("input[type=text], input[type=search]") && element.value !== "";
  }

  textKey(event) {
    if (event.key === "Enter" && event.ctrlKey) {
      this.commit();
      event.preventDefault();
    }
    if (event.key === "Escape" && this.text.value !== this.image.now.caption) {
      this.text.value = this.image.now.caption;
      event.preventDefault();
      event.stopPropagation();
    }
  }

  key(event) {
    if (event.defaultPrevented) return;
    if (event.key === "Escape") this.close();
    else if (event.key === "PageUp") this.go(-1);
    else if (event.key === "PageDown") this.go(1);
    else return;
    event.preventDefault();
  }

  go(by) {
    this.commit();
    this.step(by);
  }
}

const newParts = (tags) => tags.map((text) => ({ text, isMark: false }));
