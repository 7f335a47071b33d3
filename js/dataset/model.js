// A dataset with a person's edits: what is shown, what changed, undo and redo. Knows nothing of the page.
import { captionTags, tagKey } from "./tags.js";

export const FIELDS = ["caption", "leftOut", "weight"];
export const STATES = {
  "no caption": (image) => !image.now.caption,
  "left out": (image) => image.now.leftOut,
  weighed: (image) => image.now.weight !== 1,
  edited: (image) => isEdited(image),
};
const MOST_STEPS = 500;

export const isEdited = (image) => FIELDS.some((field) => image.now[field] !== image.base[field]);

function readRow(row) {
  const base = { caption: row.caption, leftOut: row.left_out ?? false, weight: row.weight ?? 1 };
  return { ...row, flags: row.flags ?? {}, base, now: { ...base } };
}

export class Model {
  constructor(table) {
    this.filter = { text: "", tags: [], flags: [] };
    this.done = []; // steps: lists of {key, before, after}
    this.undone = [];
    this.take(table);
  }

  // Take what the server says now. Edits stay, but a caption that changed on the disk is shown as it is there: a step
  // that undo takes back. Returns how many of these there were.
  take(table) {
    const before = this.byKey ?? new Map();
    Object.assign(this, { id: table.id, title: table.title, folders: table.folders, stamp: table.stamp });
    this.images = table.rows.map(readRow);
    this.byKey = new Map(this.images.map((image) => [image.key, image]));
    this.flags = [...table.checked, ...Object.keys(STATES)];
    const changed = [];
    this.lost = []; // names of images with edits that are not there any more
    for (const [key, old] of before) {
      const image = this.byKey.get(key);
      if (!isEdited(old)) continue;
      if (!image) {
        this.lost.push(old.name);
        continue;
      }
      image.now = { ...old.now };
      for (const field of FIELDS) {
        const isMine = old.now[field] !== old.base[field];
        if (!isMine) image.now[field] = image.base[field];
        else if (old.base[field] !== image.base[field] && image.now[field] !== image.base[field])
          changed.push([image, { [field]: image.base[field] }]);
      }
    }
    this.filter.flags = this.filter.flags.filter((flag) => this.flags.includes(flag));
    const count = new Set(changed.map(([image]) => image)).size;
    if (!this.apply(changed)) this.refresh();
    return count;
  }

  // One step of changes: pairs of an image and the fields that it gets. False where nothing changes.
  apply(changes) {
    const step = [];
    for (const [image, fields] of changes) {
      const after = { ...image.now, ...fields };
      if (FIELDS.every((field) => after[field] === image.now[field])) continue;
      step.push({ key: image.key, before: image.now, after });
      this.set(image, after);
    }
    if (!step.length) return false;
    this.done.push(step);
    if (this.done.length > MOST_STEPS) this.done.shift();
    this.undone = [];
    this.refresh();
    return true;
  }

  undo() {
    return this.walk(this.done, this.undone, "before");
  }

  redo() {
    return this.walk(this.undone, this.done, "after");
  }

  // Returns the first image that changed, or null.
  walk(from, to, side) {
    const step = from.pop();
    if (!step) return null;
    to.push(step);
    const images = step.map((change) => [this.byKey.get(change.key), change[side]]).filter(([image]) => image);
    for (const [image, values] of side === "before" ? images.reverse() : images) this.set(image, values);
    this.refresh();
    return images.at(-1)?.[0] ?? null;
  }

  set(image, values) {
    if (values.caption !== image.now.caption) image.tags = null;
    image.now = { ...values };
  }

  tags(image) {
    image.tags ??= captionTags(image.now.caption).map((text) => [tagKey(text), text]);
    return image.tags;
  }

  setFilter(filter) {
    Object.assign(this.filter, filter);
    this.refresh();
  }

  // Which images fit the filter, and how often each tag stands in them.
  refresh() {
    const { text, tags, flags } = this.filter;
    const typed = text.trim().toLowerCase();
    const keys = tags.map((tag) => tag.key);
    this.shown = this.images.filter(
      (image) =>
        flags.every((flag) => (STATES[flag] ? STATES[flag](image) : flag in image.flags)) &&
        keys.every((key) => this.tags(image).some(([own]) => own === key)) &&
        (!typed ||
          image.name.toLowerCase().includes(typed) ||
          image.now.caption.toLowerCase().includes(typed)),
    );
    this.counts = countTags(this, this.shown);
    this.edited = this.images.filter(isEdited);
  }

  // [text, count] of the tags of all images, the most frequent first.
  allTags() {
    const all = this.shown.length === this.images.length ? this.counts : countTags(this, this.images);
    return all.map(({ text, count }) => [text, count]);
  }

  flagCounts() {
    const counts = Object.fromEntries(this.flags.map((flag) => [flag, 0]));
    for (const image of this.images) {
      for (const flag of Object.keys(image.flags)) counts[flag] += 1;
      for (const [flag, holds] of Object.entries(STATES)) counts[flag] += holds(image);
    }
    return counts;
  }

  // What the server is asked to save.
  edits() {
    const captions = {};
    const choices = {};
    for (const { key, now, base } of this.edited) {
      if (now.caption !== base.caption) captions[key] = now.caption;
      if (now.leftOut !== base.leftOut || now.weight !== base.weight)
        choices[key] = { left_out: now.leftOut, weight: now.weight };
    }
    return { captions, choices };
  }

  // What was asked for is saved: it is no edit any more, whatever was changed meanwhile.
  saved({ captions, choices }, table) {
    for (const [key, caption] of Object.entries(captions)) this.byKey.get(key).base.caption = caption;
    for (const [key, choice] of Object.entries(choices)) {
      const { base } = this.byKey.get(key);
      Object.assign(base, { leftOut: choice.left_out, weight: choice.weight });
    }
    this.take(table);
  }
}

function countTags(model, images) {
  const counts = new Map();
  for (const image of images) {
    for (const [key, text] of model.tags(image)) {
      const found = counts.get(key);
      if (found) found.count += 1;
      else counts.set(key, { key, text, count: 1 });
    }
  }
  return [...counts.values()].sort((a, b) => b.count - a.count || (a.key < b.key ? -1 : 1));
}
