// The images as a grid of cards, of which only those in sight exist: ten thousand scroll like fifty.
import { make, setText } from "./dom.js";
import { isEdited } from "./model.js";

const CARD = { least: 124, height: 250, gap: 8 };
const AHEAD = 2; // rows above and below that are made before they are seen
const FAST = 60; // pixels a frame: nobody looks at images that fly by, so no new thumbnail is asked for
const PAUSE = 90; // ms after that
const LEFT_OUT = "left out";

export class Grid {
  // `thumbnail(image)` is an address; `open(image)` edits; `moved(image)` is told of the current one.
  constructor({ model, thumbnail, open, moved, leaveOut }) {
    Object.assign(this, { model, thumbnail, open, moved, leaveOut });
    this.current = 0;
    this.columns = 1;
    this.cards = new Map(); // place → card
    this.free = [];
    this.loaded = new Set(); // addresses: the browser keeps these
    this.space = make("div", { className: "ll-space", role: "presentation" });
    this.element = make(
      "div",
      {
        className: "ll-grid",
        tabIndex: 0,
        role: "listbox",
        "aria-label": "Images",
        "data-capture-wheel": "true",
        onscroll: () => this.ask(),
        onkeydown: (event) => this.key(event),
        onclick: (event) => this.click(event),
      },
      this.space,
    );
    this.resize = new ResizeObserver(() => this.layout());
    this.resize.observe(this.element);
  }

  destroy() {
    this.resize.disconnect();
    cancelAnimationFrame(this.frame);
    clearTimeout(this.pause);
  }

  // Show the images that the model shows now; the current one stays where it can.
  refresh() {
    const image = this.image;
    const place = image ? this.model.shown.indexOf(image) : 0;
    this.current = Math.max(0, place >= 0 ? place : Math.min(this.current, this.model.shown.length - 1));
    for (const card of this.cards.values()) card.image = null;
    this.layout();
    this.image = this.model.shown[this.current];
  }

  layout() {
    const { clientWidth: width } = this.element;
    if (!width) return;
    this.columns = Math.max(1, Math.floor((width - CARD.gap) / (CARD.least + CARD.gap)));
    this.cardWidth = Math.floor((width - CARD.gap * (this.columns + 1)) / this.columns);
    const rows = Math.ceil(this.model.shown.length / this.columns);
    this.space.style.height = `${rows * (CARD.height + CARD.gap) + CARD.gap}px`;
    for (const card of this.cards.values()) card.place = -1;
    this.draw();
  }

  ask() {
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = null;
    const { scrollTop: top, clientHeight: height } = this.element;
    const row = CARD.height + CARD.gap;
    const isFast = Math.abs(top - (this.lastTop ?? top)) > FAST;
    this.lastTop = top;
    const first = Math.max(0, Math.floor(top / row) - AHEAD) * this.columns;
    const last = Math.min(this.model.shown.length, (Math.ceil((top + height) / row) + AHEAD) * this.columns);
    for (const [place, card] of this.cards) {
      if (place >= first && place < last) continue;
      this.cards.delete(place);
      this.free.push(card);
    }
    for (let place = first; place < last; place++) this.put(place, isFast);
    for (const card of this.free) card.element.hidden = true;
    if (isFast) {
      clearTimeout(this.pause);
      this.pause = setTimeout(() => this.ask(), PAUSE);
    }
  }

  put(place, isFast) {
    const image = this.model.shown[place];
    let card = this.cards.get(place);
    if (!card) {
      card = this.free.pop() ?? newCard(this);
      card.place = -1;
      this.cards.set(place, card);
    }
    if (card.place !== place) {
      const left = CARD.gap + (place % this.columns) * (this.cardWidth + CARD.gap);
      const top = CARD.gap + Math.floor(place / this.columns) * (CARD.height + CARD.gap);
      card.element.style.transform = `translate(${left}px, ${top}px)`;
      card.element.style.width = `${this.cardWidth}px`;
      card.element.style.height = `${CARD.height}px`;
      card.element.dataset.place = place;
      card.element.id = `ll-image-${place}`;
      card.element.setAttribute("aria-posinset", place + 1);
      card.element.setAttribute("aria-setsize", this.model.shown.length);
      card.place = place;
    }
    card.element.hidden = false;
    if (card.image !== image) fill(card, image, this.model);
    const isCurrent = place === this.current;
    card.element.classList.toggle("ll-current", isCurrent);
    card.element.setAttribute("aria-selected", isCurrent);
    if (isCurrent) this.element.setAttribute("aria-activedescendant", card.element.id);
    const address = this.thumbnail(image);
    if (card.address === address) return;
    const isLater = isFast && !this.loaded.has(address);
    card.address = isLater ? null : address;
    if (isLater) card.picture.removeAttribute("src");
    else card.picture.src = address;
  }

  // Make an image the current one and bring it into sight.
  go(place) {
    const last = this.model.shown.length - 1;
    if (last < 0) return;
    this.current = Math.min(last, Math.max(0, place));
    this.image = this.model.shown[this.current];
    const top = Math.floor(this.current / this.columns) * (CARD.height + CARD.gap);
    const bottom = top + CARD.height + 2 * CARD.gap;
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top;
    else if (bottom > scrollTop + clientHeight) this.element.scrollTop = bottom - clientHeight;
    this.draw();
    this.moved(this.image);
  }

  key(event) {
    const page = Math.max(1, Math.floor(this.element.clientHeight / (CARD.height + CARD.gap))) * this.columns;
    const steps = {
      ArrowLeft: -1,
      ArrowRight: 1,
      ArrowUp: -this.columns,
      ArrowDown: this.columns,
      PageUp: -page,
      PageDown: page,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in steps) this.go(this.current + steps[event.key]);
    else if (event.key === "Enter" && this.image) this.open(this.image);
    else if (event.key === "Delete" && this.image) this.leaveOut(this.image);
    else return;
    event.preventDefault();
  }

  click(event) {
    const card = event.target.closest(".ll-card");
    if (!card) return;
    this.go(Number(card.dataset.place));
    this.open(this.image);
  }
}

function newCard({ space, loaded }) {
  const picture = make("img", { alt: "", draggable: false, decoding: "async" });
  const flags = make("div", { className: "ll-flags" });
  const name = make("div", { className: "ll-name" });
  const facts = make("div", { className: "ll-facts" });
  const caption = make("div", { className: "ll-caption" });
  const frame = make("div", { className: "ll-picture" }, picture, flags);
  const element = make("div", { className: "ll-card", role: "option" }, frame, name, facts, caption);
  picture.addEventListener("error", () => frame.classList.add("ll-broken"));
  picture.addEventListener("load", () => {
    frame.classList.remove("ll-broken");
    loaded.add(picture.getAttribute("src"));
  });
  space.append(element);
  return { element, frame, picture, flags, name, facts, caption, place: -1, image: null, address: null };
}

function fill(card, image, model) {
  card.image = image;
  setText(card.name, image.name);
  card.name.title = `${model.folders[image.folder].name}/${image.name}`;
  setText(card.facts, sizeText(image));
  card.facts.title = bucketTitle(image, model);
  setText(card.caption, image.now.caption || "no caption");
  card.caption.classList.toggle("ll-none", !image.now.caption);
  card.element.classList.toggle("ll-left-out", image.now.leftOut);
  card.element.classList.toggle("ll-edited", isEdited(image));
  const said = Object.entries(image.flags).map(([flag, why]) => flagChip(flag, why));
  if (image.now.leftOut) said.unshift(flagChip(LEFT_OUT, "Not trained on."));
  else if (image.now.weight !== 1)
    said.unshift(flagChip(`× ${image.now.weight}`, "Its loss is multiplied by this."));
  if (isEdited(image)) said.unshift(flagChip("edited", "Not saved yet."));
  if (said.length || card.flags.firstChild) card.flags.replaceChildren(...said);
}

const flagChip = (text, title) => make("span", { className: "ll-flag", textContent: text, title });

export function sizeText({ size, bucket }) {
  const to = bucket ? ` → ${bucket.join("×")}` : "";
  return `${size.join("×")}${to}`;
}

export function bucketTitle({ folder, bucket }, model) {
  if (!bucket) return "It fits no bucket.";
  return `Its size, and its bucket by ${model.folders[folder].buckets_by}.`;
}
