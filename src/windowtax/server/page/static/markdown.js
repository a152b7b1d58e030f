// The little of Markdown that answers use, as elements. Only text nodes are made of what the model says.

import { element } from "./dom.js";

// Shows growing text: blocks that did not change are left as they are.
export class Markdown {
  constructor(place) {
    this.place = place;
    this.shown = [];
  }

  show(text) {
    const blocks = split(text);
    let same = 0;
    while (same < blocks.length && blocks[same] === this.shown[same]) same += 1;
    while (this.place.childNodes.length > same) this.place.lastChild.remove();
    this.place.append(...blocks.slice(same).map(block));
    this.shown = blocks;
  }
}

// Blocks are divided by empty lines, except inside fences.
function split(text) {
  const blocks = [];
  let lines = [], fence = null;
  const flush = () => {
    if (lines.length) blocks.push(lines.join("\n"));
    lines = [];
  };
  for (const line of text.split("\n")) {
    const mark = line.match(/^\s*(```+|~~~+)/)?.[1];
    if (fence) {
      lines.push(line);
      if (mark?.startsWith(fence)) {
        fence = null;
        flush();
      }
    } else if (mark) {
      flush();
      fence = mark;
      lines.push(line);
    } else if (!line.trim()) {
      flush();
    } else {
      if (/^#{1,6} /.test(line)) flush();
      lines.push(line);
      if (/^#{1,6} /.test(line)) flush();
    }
  }
  flush();
  return blocks;
}

const ITEM = /^\s*([-*+]|\d+[.)]) +/;

function block(text) {
  const lines = text.split("\n");
  if (/^\s*(```|~~~)/.test(lines[0])) return code(lines);
  const heading = text.match(/^#{1,6} +(.*)/);
  if (heading) return element("h4", ...inline(heading[1]));
  if (ITEM.test(lines[0])) return list(lines);
  if (lines.every((line) => line.startsWith(">"))) {
    return element("blockquote", ...inline(lines.map((line) => line.replace(/^> ?/, "")).join("\n")));
  }
  return element("p", ...inline(text));
}

function code(lines) {
  const closed = lines.length > 1 && /^\s*(```|~~~)/.test(lines.at(-1));
  return element("pre", { tabindex: "0" }, element("code", lines.slice(1, closed ? -1 : undefined).join("\n")));
}

function list(lines) {
  const items = [];
  for (const line of lines) {
    if (ITEM.test(line)) items.push(line.replace(ITEM, ""));
    else items[items.length - 1] += `\n${line.trim()}`;
  }
  const number = lines[0].match(/^\s*(\d+)/)?.[1];
  const rows = items.map((item) => element("li", ...inline(item)));
  return number ? element("ol", { start: number }, ...rows) : element("ul", ...rows);
}

const INLINE = /(`+)([^`]+)\1|\*\*([^*]+)\*\*|(?<![\w*])\*([^*\s][^*]*)\*(?!\w)/g;

function inline(text) {
  const found = [];
  let end = 0;
  for (const match of text.matchAll(INLINE)) {
    found.push(text.slice(end, match.index));
    if (match[2]) found.push(element("code", match[2]));
    else found.push(element(match[3] ? "strong" : "em", match[3] ?? match[4]));
    end = match.index + match[0].length;
  }
  return [...found, text.slice(end)];
}
