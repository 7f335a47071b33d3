// A caption as tags and back. Knows nothing of the page.
const MARKS = /\|{3,}|#{3,}|;{3,}|&{3,}|\${3,}|%{3,}|~{3,}|@{3,}/y;
const SPECIAL = /[()[\]{}\\|#;&$%~@]/;
const OPENING = { "(": ")", "[": "]", "{": "}" };
const MOST_KEYS = 100_000;
const keys = new Map(); // a dataset says the same few thousand tags again and again

// One line in parts: tags between commas, and the marks of caption notation (|||, ;;;). What stands in brackets stays
// together: (red hair, hat:0.8) and {red|blue} dress are one part each.
export function readParts(line) {
  if (!SPECIAL.test(line)) return line.split(",").flatMap(plainPart); // nearly all are, and this is fast
  return scan(line, pairedBrackets(line));
}

// Where brackets stand that have a partner; the others are letters, as in :)
function pairedBrackets(line) {
  const open = { ")": [], "]": [], "}": [] };
  const paired = new Set();
  for (let place = 0; place < line.length; place++) {
    const letter = line[place];
    if (letter === "\\") place += 1;
    else if (letter in OPENING) open[OPENING[letter]].push(place);
    else if (open[letter]?.length) paired.add(open[letter].pop()).add(place);
  }
  return paired;
}

function plainPart(text) {
  const own = text.trim();
  return own ? [{ text: own, isMark: false }] : [];
}

function scan(line, paired) {
  const parts = [];
  let depth = 0;
  let text = "";
  const end = () => {
    parts.push(...plainPart(text));
    text = "";
  };
  for (let place = 0; place < line.length; ) {
    const letter = line[place];
    MARKS.lastIndex = place;
    const mark = depth === 0 ? MARKS.exec(line) : null;
    if (mark) {
      end();
      parts.push({ text: mark[0], isMark: true });
      place += mark[0].length;
      continue;
    }
    if (letter === "\\" && place + 1 < line.length) {
      text += letter + line[place + 1];
      place += 2;
      continue;
    }
    if (paired.has(place)) depth += letter in OPENING ? 1 : -1;
    if (letter === "," && depth === 0) end();
    else text += letter;
    place += 1;
  }
  end();
  return parts;
}

export function writeParts(parts) {
  let line = "";
  parts.forEach(({ text, isMark }, place) => {
    if (place > 0) line += isMark || parts[place - 1].isMark ? " " : ", ";
    line += text;
  });
  return line;
}

// What is compared of a tag: no case, underscore equals space, \( equals (.
export function tagKey(tag) {
  let key = keys.get(tag);
  if (key === undefined) {
    key = newKey(tag);
    if (keys.size >= MOST_KEYS) keys.clear();
    keys.set(tag, key);
  }
  return key;
}

function newKey(tag) {
  const plain = tag.replace(/\\([()])/g, "$1").toLowerCase().replaceAll("_", " ");
  return plain.split(/\s+/).filter(Boolean).join(" ") || plain;
}

// The tags of all lines of a caption, marks left out.
export const captionTags = (caption) =>
  caption.split("\n").flatMap((line) =>
    readParts(line)
      .filter((part) => !part.isMark)
      .map((part) => part.text),
  );

// The caption with a function of each line's parts. A caption in which nothing changes keeps every letter.
export function changeParts(caption, change) {
  let isChanged = false;
  const lines = caption.split("\n").map((line) => {
    const before = readParts(line);
    const after = change(before);
    const isSame =
      after.length === before.length && after.every((part, place) => part.text === before[place].text);
    isChanged ||= !isSame;
    return isSame ? line : writeParts(after);
  });
  return isChanged ? lines.filter((line) => line.trim()).join("\n") : caption;
}

// Take the place of a tag by others: none removes it. A tag that the line has already does not come twice.
export function replaceTag(caption, key, tags) {
  return changeParts(caption, (parts) => {
    if (!parts.some((part) => !part.isMark && tagKey(part.text) === key)) return parts;
    const others = new Set(
      parts.filter((part) => !part.isMark && tagKey(part.text) !== key).map((part) => tagKey(part.text)),
    );
    let isFirst = true;
    return parts.flatMap((part) => {
      if (part.isMark || tagKey(part.text) !== key) return [part];
      const wanted = isFirst ? tags.filter((tag) => !others.has(tagKey(tag))) : [];
      isFirst = false;
      return wanted.map((text) => ({ text, isMark: false }));
    });
  });
}

export function addTags(caption, tags) {
  const there = new Set(captionTags(caption).map(tagKey));
  const wanted = tags.filter((tag) => !there.has(tagKey(tag)));
  if (!wanted.length) return caption;
  const added = wanted.map((text) => ({ text, isMark: false }));
  return changeParts(caption, (parts) => [...parts, ...added]);
}

// At most `most` tags for what was typed: those that begin with it, then those in which a word does, then the others
// that hold it. `sources` are lists of [text, count], the first list first.
export function suggestions(typed, sources, most = 10) {
  const wanted = tagKey(typed);
  if (!wanted) return [];
  const ranks = [[], [], []];
  const seen = new Set();
  for (const source of sources) {
    const found = [[], [], []];
    for (const [text, count] of source) {
      const key = tagKey(text);
      const place = key.indexOf(wanted);
      if (place < 0 || seen.has(key)) continue;
      seen.add(key);
      found[place === 0 ? 0 : key.includes(` ${wanted}`) ? 1 : 2].push([text, count]);
    }
    found.forEach((list, rank) => ranks[rank].push(...list));
  }
  return ranks.flat().slice(0, most);
}
