// A list of any length: only the rows that can be seen are in the page. Chosen by mouse and keyboard.
import { element } from "../dom.js";

const BEYOND = 3; // rows above and below that are there already
const SETTLED = 120; // ms without scrolling after which rows fetch what they show

// row(item) → an element; fill(element, item) fetches its pictures; onChoice(names) and onOpen() are told.
export class RunList {
  constructor(parent, { height, row, fill, onChoice, onOpen, onDelete }) {
    Object.assign(this, { height, row, fill, onChoice, onOpen, onDelete });
    this.items = [];
    this.chosen = new Set();
    this.active = -1;
    this.anchor = 0;
    this.rows = new Map(); // name → element
    this.box = element(parent, "div", {
      className: "ll-list",
      role: "listbox",
      tabIndex: 0,
      ariaLabel: "Runs",
      ariaMultiSelectable: "true",
    });
    this.inner = element(this.box, "div", { className: "ll-list-inner", role: "presentation" });
    this.box.addEventListener("scroll", () => this.draw(), { passive: true });
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("focus", () => this.focused());
    this.inner.addEventListener("click", (event) => this.click(event));
    this.inner.addEventListener("dblclick", () => this.onOpen());
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.box);
  }

  end() {
    this.sized.disconnect();
    clearTimeout(this.waiting);
  }

  // Other items, or the same ones anew; what was chosen and is still there stays chosen.
  show(items) {
    const active = this.items[this.active]?.name;
    this.items = items;
    const names = new Set(items.map(({ name }) => name));
    const kept = [...this.chosen].filter((name) => names.has(name));
    const fewer = kept.length < this.chosen.size;
    this.chosen = new Set(kept);
    this.active = active ? items.findIndex(({ name }) => name === active) : -1;
    this.inner.style.height = `${items.length * this.height}px`;
    this.inner.replaceChildren();
    this.rows.clear();
    this.draw();
    if (fewer) this.onChoice();
  }

  // One item anew, in its place.
  update(item) {
    const place = this.items.findIndex(({ name }) => name === item.name);
    if (place < 0) return;
    this.items[place] = item;
    const old = this.rows.get(item.name);
    if (!old) return;
    const fresh = this.made(item, place);
    this.rows.set(item.name, fresh);
    old.replaceWith(fresh);
    this.fill(fresh, item);
  }

  choose(names) {
    this.chosen = new Set(names);
    this.marked();
    this.onChoice();
  }

  made(item, place) {
    const row = this.row(item);
    row.id = `lora-loop-run-${item.name}`;
    row.dataset.name = item.name;
    row.role = "option";
    row.ariaPosInSet = String(place + 1);
    row.ariaSetSize = String(this.items.length);
    row.style.top = `${place * this.height}px`;
    row.style.height = `${this.height}px`;
    this.mark(row, place);
    return row;
  }

  mark(row, place) {
    row.ariaSelected = String(this.chosen.has(row.dataset.name));
    row.classList.toggle("ll-active", place === this.active);
  }

  marked() {
    for (const [name, row] of this.rows)
      this.mark(
        row,
        this.items.findIndex((item) => item.name === name),
      );
    const active = this.items[this.active];
    if (active) this.box.setAttribute("aria-activedescendant", `lora-loop-run-${active.name}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  draw() {
    const { scrollTop, clientHeight } = this.box;
    const first = Math.max(0, Math.floor(scrollTop / this.height) - BEYOND);
    const last = Math.min(
      this.items.length,
      Math.ceil((scrollTop + clientHeight) / this.height) + BEYOND,
    );
    const seen = new Set(this.items.slice(first, last).map(({ name }) => name));
    for (const [name, row] of this.rows) {
      if (seen.has(name)) continue;
      row.remove();
      this.rows.delete(name);
    }
    for (let place = first; place < last; place++) {
      const item = this.items[place];
      if (this.rows.has(item.name)) continue;
      const row = this.made(item, place);
      this.rows.set(item.name, row);
      this.inner.append(row);
    }
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.fetch(), SETTLED);
  }

  fetch() {
    for (const item of this.items) {
      const row = this.rows.get(item.name);
      if (!row || row.dataset.filled) continue;
      row.dataset.filled = "yes";
      this.fill(row, item);
    }
  }

  focused() {
    if (this.active < 0 && this.items.length) this.active = 0;
    this.marked();
  }

  click(event) {
    const row = event.target.closest("[role=option]");
    if (!row) return;
    const place = this.items.findIndex(({ name }) => name === row.dataset.name);
    const toggles = event.ctrlKey || event.metaKey || event.target.closest(".ll-tick");
    this.go(place, { extend: event.shiftKey, toggle: toggles });
  }

  // Make the item at a place the active one and choose it, or up to it, or it in addition.
  go(place, { extend = false, toggle = false, only = true } = {}) {
    const item = this.items[place];
    if (!item) return;
    this.active = place;
    if (extend) {
      const [from, to] = [Math.min(this.anchor, place), Math.max(this.anchor, place)];
      this.chosen = new Set(this.items.slice(from, to + 1).map(({ name }) => name));
    } else {
      this.anchor = place;
      if (toggle) this.chosen.delete(item.name) || this.chosen.add(item.name);
      else if (only) this.chosen = new Set([item.name]);
    }
    this.reveal(place);
    this.marked();
    this.onChoice();
  }

  reveal(place) {
    const [top, seen] = [place * this.height, this.box.clientHeight];
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top + this.height > this.box.scrollTop + seen)
      this.box.scrollTop = top + this.height - seen;
    this.draw();
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.box.clientHeight / this.height));
    const last = this.items.length - 1;
    const from = Math.max(this.active, 0);
    const moves = {
      ArrowDown: this.chosen.size ? from + 1 : from,
      ArrowUp: from - 1,
      PageDown: from + page,
      PageUp: from - page,
      Home: 0,
      End: last,
    };
    const control = event.ctrlKey || event.metaKey;
    if (event.key in moves) {
      const place = Math.min(Math.max(moves[event.key], 0), last);
      this.go(place, { extend: event.shiftKey, only: !control });
    } else if (event.key === " ") this.go(from, { toggle: true });
    else if (event.key === "a" && control) this.choose(this.items.map(({ name }) => name));
    else if (event.key === "Enter" && this.chosen.size) this.onOpen();
    else if (event.key === "Delete" && this.chosen.size) this.onDelete();
    else if (event.key === "Escape" && this.chosen.size) this.choose([]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
