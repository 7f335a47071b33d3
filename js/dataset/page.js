// The Dataset page: the images of the Load Dataset nodes, their captions edited, nothing written until Save.
import { api, getJSON, imageURL, postJSON, shownBy } from "../comfy.js";
import { arrow, button, make, setText } from "./dom.js";
import { Editor } from "./editor.js";
import { Filters } from "./filters.js";
import { Grid } from "./grid.js";
import { Model } from "./model.js";
import { TagPanel } from "./tag_panel.js";

const PLACE = "/lora_loop/dataset";
const EVENT = "lora_loop.dataset";
const SHOWN = "lora_loop_dataset"; // what a node shows: the id of the dataset that it read
const SETTLED = 500; // ms after the last event
const READING = "Reading…";
const NONE =
  "No dataset was read yet. Queue a graph with a Load Dataset node, and its images are shown here.";

const models = new Map(); // by dataset: edits stay while the page is closed
let chosen = null; // id
let picked = null; // the id that a person chose
let taggerTags = null; // [[tag, 0]], asked for once

addEventListener("beforeunload", (event) => {
  if ([...models.values()].some((model) => model.edited.length)) event.preventDefault();
});

class Page {
  constructor(place) {
    this.styled();
    this.choice = make("select", {
      className: "ll-input ll-choice",
      "aria-label": "Dataset",
      onchange: () => this.open((picked = this.choice.value)),
    });
    this.undoButton = arrow("↶", "Undo", "Undo (Ctrl+Z)", () => this.walk("undo"));
    this.redoButton = arrow("↷", "Redo", "Redo (Ctrl+Shift+Z)", () => this.walk("redo"));
    this.saveButton = button("Save", "Write what changed (Ctrl+S)", () => this.save(), "ll-primary");
    this.tagsButton = button("Tags", "Tag frequencies", () => this.toggleTags());
    this.said = make("div", { className: "ll-said", role: "alert", hidden: true });
    this.body = make("div", { className: "ll-body" });
    this.element = make(
      "div",
      { className: "ll-dataset", onkeydown: (event) => this.key(event) },
      make("div", { className: "ll-row ll-top" }, this.choice, this.undoButton, this.redoButton, this.saveButton),
      this.body,
    );
    for (const kind of ["keyup", "keypress", "copy", "paste", "cut"])
      this.element.addEventListener(kind, (event) => event.stopPropagation());
    place.append(this.element);
    this.told = ({ detail }) => (detail.saving ? this.showSaving(detail) : this.hear());
    api.addEventListener(EVENT, this.told);
    this.list();
  }

  styled() {
    const href = new URL("./page.css", import.meta.url).href;
    if (!document.querySelector(`link[href="${href}"]`))
      document.head.append(make("link", { rel: "stylesheet", href }));
  }

  destroy() {
    api.removeEventListener(EVENT, this.told);
    clearTimeout(this.waiting);
    this.leave();
    this.element.remove();
    this.isGone = true;
  }

  // Several events come together: wait until they are through.
  hear() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.list(true), SETTLED);
  }

  showSaving({ id, saving: [done, count] }) {
    if (this.isSaving && id === this.model?.id) this.say(`Saving… ${done} of ${count} captions are written.`);
  }

  async list(isNews = false) {
    let found;
    try {
      found = (await getJSON(`${PLACE}/list`)).datasets;
    } catch (error) {
      return this.say(error.message, true);
    }
    if (this.isGone) return;
    const own = new Set(shownBy(SHOWN));
    this.fillChoice(found, own);
    const ids = found.map((one) => one.id);
    const isOther = own.size && !own.has(chosen) && chosen !== picked && !this.model?.edited.length;
    const isLeft = isOther || !ids.includes(chosen);
    if (isLeft) chosen = ids.find((id) => own.has(id)) ?? ids[0] ?? null;
    if (!chosen) {
      this.leave();
      this.body.firstChild.textContent = NONE;
    } else await this.open(chosen, isNews);
  }

  fillChoice(found, own) {
    const groups = [
      ["This graph", found.filter((one) => own.has(one.id))],
      [own.size ? "Read by other graphs" : "Read since ComfyUI was started", found.filter((one) => !own.has(one.id))],
    ];
    this.choice.replaceChildren(
      ...groups
        .filter(([, rows]) => rows.length)
        .map(([label, rows]) =>
          make(
            "optgroup",
            { label },
            ...rows.map(({ id, title, images }) =>
              make("option", { value: id, textContent: `${title} (${images})` }),
            ),
          ),
        ),
    );
  }

  async open(id, isNews = false) {
    const isSame = this.model?.id === id && this.grid;
    chosen = id;
    this.choice.value = id;
    if (isSame && !isNews) return;
    if (!isSame) this.leave();
    try {
      this.take(await getJSON(`${PLACE}/images`, { id }));
    } catch (error) {
      this.say(error.message, true);
    }
  }

  // Show no dataset until the next one is there.
  leave() {
    this.editor?.commit();
    this.grid?.destroy();
    this.model = this.grid = this.editor = null;
    this.body.replaceChildren(make("p", { className: "ll-empty", textContent: READING }));
  }

  // The images as the server knows them now; edits of this page stay.
  take(table) {
    if (this.isGone || table.id !== chosen) return;
    const known = models.get(table.id);
    const changed = known ? known.take(table) : 0;
    if (!known) models.set(table.id, new Model(table));
    if (!this.grid) this.build(models.get(table.id));
    if (this.editor.image) this.editor.image = this.model.byKey.get(this.editor.image.key) ?? null;
    if (!this.editor.image) this.editor.close();
    this.refresh();
    const { lost } = this.model;
    if (lost.length) this.say(`${lost.length} image(s) that you edited are gone, and the edits with them: ${lost[0]}…`);
    if (changed)
      this.say(
        `${changed} image(s) that you edited changed on the disk and are shown as they are there. Undo brings ` +
          "your edits back; Save then writes over them.",
      );
  }

  build(model) {
    this.model = model;
    const sources = () => [model.allTags(), taggerTags ?? []];
    const picture = (size) => (image) =>
      imageURL(`${PLACE}/thumbnail`, { id: model.id, image: image.key, size, v: image.version });
    const changed = () => this.refresh();
    this.editor = new Editor({
      model,
      picture: picture("large"),
      sources,
      changed,
      step: (by) => this.grid.go(this.grid.current + by),
      closed: () => this.grid.element.focus({ preventScroll: true }),
    });
    this.grid = new Grid({
      model,
      thumbnail: picture("small"),
      open: (image) => this.edit(image),
      moved: (image) => this.editor.element.hidden || this.editor.open(image, false),
      leaveOut: (image) => model.apply([[image, { leftOut: !image.now.leftOut }]]) && this.refresh(),
    });
    this.panel = new TagPanel({ model, sources, changed, say: (text) => this.say(text) });
    this.panel.element.hidden = true;
    this.filters = new Filters({
      model,
      changed: () => {
        this.grid.element.scrollTop = 0;
        this.refresh();
      },
    });
    this.body.replaceChildren(
      make("div", { className: "ll-row" }, this.filters.search, this.tagsButton, this.filters.count),
      this.filters.element,
      this.said,
      make("div", { className: "ll-middle" }, this.panel.element, this.grid.element),
      this.editor.element,
    );
  }

  refresh() {
    const { model } = this;
    if (!model) return;
    this.grid.refresh();
    if (!this.panel.element.hidden) this.panel.refresh();
    this.editor.refresh();
    this.filters.refresh();
    const edits = model.edited.length;
    this.saveButton.disabled = !edits || this.isSaving;
    setText(this.saveButton, edits ? `Save (${edits})` : "Save");
    this.undoButton.disabled = !model.done.length;
    this.redoButton.disabled = !model.undone.length;
  }

  edit(image) {
    this.editor.open(image);
    this.grid.go(this.grid.current); // the grid is lower now
    this.loadTaggerTags();
  }

  async loadTaggerTags() {
    if (taggerTags) return;
    taggerTags = [];
    try {
      taggerTags = (await getJSON(`${PLACE}/tagger_tags`)).tags.map((tag) => [tag, 0]);
    } catch {
      taggerTags = null; // the tags of the dataset are enough; it is asked again
    }
  }

  toggleTags() {
    const { element } = this.panel;
    element.hidden = !element.hidden;
    this.tagsButton.setAttribute("aria-expanded", !element.hidden);
    this.loadTaggerTags();
    this.panel.refresh();
    if (!element.hidden) this.panel.search.focus();
    this.grid.layout();
  }

  walk(way) {
    const image = this.model?.[way]();
    if (!image) return;
    this.refresh();
    const place = this.model.shown.indexOf(image);
    if (place >= 0) this.grid.go(place);
  }

  async save() {
    this.editor?.commit();
    if (!this.model?.edited.length || this.isSaving) return;
    this.isSaving = true;
    this.refresh();
    const { model } = this;
    const asked = model.edits();
    this.say("Saving…");
    try {
      const { said, table } = await postJSON(`${PLACE}/save`, {
        id: model.id,
        stamp: model.stamp,
        page: api.clientId,
        ...asked,
      });
      model.saved(asked, table);
      this.isSaving = false;
      this.take(table);
      this.say(`${said}. The next Queue reads it.`);
    } catch (error) {
      this.isSaving = false;
      this.say(error.message, true, [button("Read again", "Read the folder again; your edits stay", () => this.readAgain())]);
    }
    if (!this.isGone) this.refresh();
  }

  async readAgain() {
    this.say("");
    try {
      this.take(await postJSON(`${PLACE}/read`, { id: this.model.id }));
    } catch (error) {
      this.say(error.message, true);
    }
  }

  say(text, isError = false, more = []) {
    if (!this.said.isConnected) this.body.replaceChildren(this.said);
    this.said.hidden = !text;
    this.said.classList.toggle("ll-error", isError);
    const close = button("×", "Close", () => this.say(""));
    if (this.said.contains(document.activeElement)) this.focus(); // or the graph would get the next key
    this.said.replaceChildren(make("span", { textContent: text }), ...more, close);
    this.grid?.layout();
  }

  focus() {
    const { image, element } = this.editor ?? {};
    if (image && !element.hidden) element.querySelector("textarea, input")?.focus({ preventScroll: true });
    else this.grid?.element.focus({ preventScroll: true });
  }

  // No key reaches the graph, whose undo listens before anything of the page does: it is told that Ctrl is not held.
  key(event) {
    event.stopPropagation();
    if (event.defaultPrevented) return;
    const isCommand = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    if (!isCommand || event.altKey) {
      if (event.key === "Escape" && !event.defaultPrevented) this.editor?.close();
      return;
    }
    if (key === "s") {
      event.preventDefault();
      this.save();
    }
    if (key !== "z" && key !== "y") return;
    for (const name of ["ctrlKey", "metaKey"]) Object.defineProperty(event, name, { value: false });
    if (this.editor?.hasTyped(event.target)) return;
    event.preventDefault();
    this.walk(key === "y" || event.shiftKey ? "redo" : "undo");
  }
}

export const datasetPage = {
  id: "dataset",
  title: "Dataset",
  render(element) {
    const page = new Page(element);
    return () => page.destroy();
  },
};
