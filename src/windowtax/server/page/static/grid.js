// One pool as a canvas of squares, in the pool's order. Where there are too many blocks, a square stands for several.

import { element } from "./dom.js";
import { bytes, count } from "./format.js";

const HINT = "Point at a square, or at a row below; the map holds still meanwhile.";
const LARGEST = 15, SMALLEST = 4, GAP = 1, MOST_HEIGHT = 340, HUES = 8;

export class Grid {
  // told: what an owner is, in words. mark: called with the owner pointed at, or null.
  constructor(told, mark) {
    this.told = told;
    this.mark = mark;
    this.title = element("h3");
    this.canvas = element("canvas", { role: "img" });
    this.tip = element("p.note", { "aria-live": "off" });
    this.place = element("section", this.title, this.canvas, legend(), this.tip);
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.leave());
  }

  draw(group, map, marked) {
    const width = this.canvas.parentElement.clientWidth - 36;
    this.arrange(group, width);
    this.owners = squares(group, this.each);
    this.group = group;
    const one = this.each > 1 ? `a square is ${count(this.each)} blocks` : "a square is a block";
    const what = group.keeps_tokens ? `${map.block_size} tokens, ${bytes(group.block_bytes)} each` : `${bytes(group.block_bytes)}, one per request`;
    const window = group.window_tokens === null ? "" : `, window of ${count(group.window_tokens)} tokens`;
    this.title.replaceChildren(
      `${count(group.num_layers)} layers${window} `,
      element("small", `${count(group.num_blocks - group.num_free)} of ${count(group.num_blocks)} blocks held; ${one} (${what})`),
    );
    this.canvas.setAttribute("aria-label", `${count(group.num_free)} of ${count(group.num_blocks)} blocks are free; the tables below say whose the others are`);
    this.paint(map, marked);
    if (!this.pointed) this.tip.textContent = HINT;
  }

  // The largest squares that fit; smaller than the smallest only stand for more blocks.
  arrange(group, width) {
    for (this.size = LARGEST; ; this.size -= 1) {
      this.columns = Math.max(1, Math.floor(width / (this.size + GAP)));
      const lines = Math.floor(MOST_HEIGHT / (this.size + GAP));
      this.each = Math.ceil(group.num_blocks / (this.columns * lines));
      if (this.each <= 1 || this.size === SMALLEST) break;
    }
    this.each = Math.max(1, this.each);
    this.number = Math.ceil(group.num_blocks / this.each);
    const height = Math.ceil(this.number / this.columns) * (this.size + GAP);
    const fine = devicePixelRatio || 1;
    this.canvas.width = width * fine;
    this.canvas.height = height * fine;
    this.canvas.style.width = `${width}px`;
    this.canvas.style.height = `${height}px`;
    this.pen = this.canvas.getContext("2d");
    this.pen.setTransform(fine, 0, 0, fine, 0, 0);
  }

  paint(map, marked) {
    const colours = palette(), { pen, size, columns } = this, step = size + GAP;
    for (let square = 0; square < this.number; square += 1) {
      const owner = this.owners.get(square) ?? null;
      const left = (square % columns) * step, top = Math.floor(square / columns) * step;
      const segment = owner !== null && owner >= 0 ? map.segments[owner] : null;
      pen.fillStyle = owner === null ? colours.free : segment ? colours.hues[segment.hue] : colours.own;
      pen.globalAlpha = marked !== null && owner !== marked ? 0.15 : segment && !segment.users ? 0.5 : 1;
      pen.fillRect(left, top, size, size);
      if (segment && segment.users > 1 && size >= 6) {
        pen.fillStyle = colours.card;
        const dot = Math.max(2, Math.round(size / 3)), inset = (size - dot) / 2;
        pen.fillRect(left + inset, top + inset, dot, dot);
      }
    }
    pen.globalAlpha = 1;
  }

  point(event) {
    const box = this.canvas.getBoundingClientRect(), step = this.size + GAP;
    const column = Math.floor((event.clientX - box.left) / step), line = Math.floor((event.clientY - box.top) / step);
    const square = line * this.columns + column;
    if (column >= this.columns || square >= this.number || square < 0) return this.leave();
    const owner = this.owners.get(square) ?? null, first = square * this.each;
    this.pointed = true;
    const last = Math.min(this.group.num_blocks, first + this.each) - 1;
    this.tip.textContent = `${last > first ? `Blocks ${count(first)} to ${count(last)}` : `Block ${count(first)}`}: ${this.told(owner)}`;
    this.mark(owner);
  }

  leave() {
    this.pointed = false;
    this.tip.textContent = HINT;
    this.mark(null);
  }
}

// Square -> owner; of several blocks the first that is not free.
function squares(group, each) {
  const found = new Map();
  for (const [start, number, owner] of group.runs) {
    for (let square = Math.floor(start / each); square <= Math.floor((start + number - 1) / each); square += 1) {
      if (!found.has(square)) found.set(square, owner);
    }
  }
  return found;
}

function palette() {
  const style = getComputedStyle(document.documentElement), colour = (name) => style.getPropertyValue(name).trim();
  const hues = Array.from({ length: HUES }, (_, index) => colour(`--hue${index}`));
  return { free: colour("--free"), own: colour("--own"), card: colour("--card"), hues };
}

function legend() {
  const key = (name, text) => element("li", element("i", { class: `key ${name}` }), text);
  return element("ul.legend",
    key("hue0", "a prefix in use"), key("hue0 shared", "shared by several requests"), key("hue0 unused", "kept, unused"),
    key("own", "of one request alone"), key("free", "free"));
}
