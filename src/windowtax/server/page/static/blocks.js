// The block map: the pool as squares, the prefixes that are kept, and who shares them.

import { json } from "./api.js";
import { byId, element, table, tile, whileShown } from "./dom.js";
import { bytes, count, percent } from "./format.js";
import { Grid } from "./grid.js";

const HUES = 8, MOST_ROWS = 200, EVERY_MS = 1500;

export class Blocks {
  constructor() {
    this.grids = [];
    this.shown = "";
    this.marked = null;
    this.look = whileShown(byId("blocks-view"), EVERY_MS, () => this.refresh());
    addEventListener("resize", () => this.draw());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  async refresh() {
    const reply = await json("/v1/cache/map"), text = JSON.stringify(reply);
    // What is pointed at holds still; rows that were made anew would lose the pointer.
    if (text === this.shown || this.marked !== null) return;
    this.shown = text;
    this.map = reply;
    this.colour();
    this.tiles();
    this.groups();
    this.prefixes();
    this.sequences();
  }

  // A segment that alone continues another one has its colour; where prefixes part, each branch takes a new one.
  colour() {
    const { segments } = this.map, branches = new Map();
    let next = 0;
    for (const { parent } of segments) branches.set(parent, (branches.get(parent) ?? 0) + 1);
    for (const segment of segments) {
      const parent = segments[segment.parent];
      segment.depth = parent ? parent.depth + 1 : 0;
      segment.hue = parent && branches.get(segment.parent) === 1 ? parent.hue : next++ % HUES;
    }
  }

  tiles() {
    const { groups, segments, sequences, num_evicted: evicted } = this.map;
    const sum = (all, value) => all.reduce((total, one) => total + value(one), 0);
    const total = sum(groups, (one) => one.num_blocks * one.block_bytes);
    const free = sum(groups, (one) => one.num_free * one.block_bytes);
    const used = sum(segments.filter((one) => one.users), (one) => one.bytes);
    const kept = sum(segments, (one) => one.bytes), own = total - free - kept;
    const shared = sum(segments.filter((one) => one.users > 1), (one) => one.bytes * (one.users - 1));
    byId("pool").replaceChildren(
      tile("Pool", bytes(total), `${count(sum(groups, (one) => one.num_blocks))} blocks of ${this.map.block_size} tokens`),
      tile("In use now", bytes(used + own), `by ${several(sequences.length, "running request")}`),
      tile("Kept for later", bytes(kept - used), "unused prefixes, given up when room is needed"),
      tile("Free", bytes(free), percent(total ? free / total : 0)),
      tile("Spared by sharing", bytes(shared), "what copies would take now"),
      tile("Evicted so far", `${count(evicted)}`, "blocks, for want of room"),
    );
  }

  groups() {
    const place = byId("groups");
    if (this.grids.length !== this.map.groups.length) {
      this.grids = this.map.groups.map(() => new Grid((owner) => this.told(owner), (owner) => this.mark(owner)));
      place.replaceChildren(...this.grids.map((grid) => grid.place));
    }
    this.draw();
  }

  draw() {
    if (!this.map || byId("blocks-view").hidden) return;
    this.grids.forEach((grid, index) => grid.draw(this.map.groups[index], this.map, this.marked));
  }

  told(owner) {
    if (owner === null) return "free";
    if (owner < 0) {
      const one = this.map.sequences[-1 - owner];
      return `${one.id}: its own, nobody shares it yet`;
    }
    const one = this.map.segments[owner];
    return `${words(one)}: ${use(one)}`;
  }

  // Points at all blocks of one owner; null at none.
  mark(owner) {
    if (owner === this.marked) return;
    this.marked = owner;
    for (const row of document.querySelectorAll("#blocks-view tr[data-owner]")) {
      row.classList.toggle("marked", owner !== null && Number(row.dataset.owner) === owner);
    }
    this.draw();
  }

  prefixes() {
    const { segments } = this.map, tiers = segments.some((one) => Object.keys(one.tiers).length);
    const head = ["Begins with", "At token", "Tokens", "Bytes", "Users now", "Hits", ...(tiers ? ["Also kept"] : [])];
    const rows = segments.slice(0, MOST_ROWS).map((one, index) => this.row(index, one.hue, one.depth, words(one), [
      count(one.first_token), count(one.num_tokens), bytes(one.bytes), count(one.users), count(one.hits),
      ...(tiers ? [tierText(one)] : []),
    ]));
    const none = "Nothing is kept yet. Ask something in the chat, and look again.";
    table("prefixes", head, rows, segments.length > MOST_ROWS ? `${count(segments.length - MOST_ROWS)} more` : "", none);
  }

  sequences() {
    const { sequences, segments } = this.map;
    const rows = sequences.map((one, index) => {
      const shared = one.segments.filter((segment) => segments[segment].users > 1);
      const tokens = shared.reduce((sum, segment) => sum + segments[segment].num_tokens, 0);
      return this.row(-1 - index, null, 0, one.id, [count(one.num_tokens), bytes(one.bytes), count(tokens)]);
    });
    table("sequences", ["Request", "Tokens", "Bytes", "Tokens shared"], rows, "", "None is running.");
  }

  row(owner, hue, depth, name, cells) {
    const key = element("i", { class: hue === null ? "key own" : `key hue${hue}` });
    const head = element("th", { scope: "row" }, element("span.name", key, name));
    head.style.paddingLeft = `${Math.min(depth, 8) * 0.9}rem`;
    const made = element("tr", { tabindex: "0", "data-owner": owner }, head, ...cells.map((cell) => element("td.num", cell)));
    for (const event of ["pointerenter", "focus"]) made.addEventListener(event, () => this.mark(owner));
    for (const event of ["pointerleave", "blur"]) made.addEventListener(event, () => this.mark(null));
    return made;
  }
}

function words(segment) {
  if (segment.words === null) return segment.users ? "used by other keys" : "kept for other keys";
  return segment.words.trim().replace(/\s+/g, " ").slice(0, 90) || "(no text)";
}

function use(segment) {
  const now = segment.users ? `${segment.users} using it` : "unused";
  return `${now}, found again ${several(segment.hits, "time")}, ${count(segment.num_tokens)} tokens`;
}

const several = (number, what) => `${count(number)} ${what}${number === 1 ? "" : "s"}`;

const tierText = (segment) => Object.entries(segment.tiers).map(([tier, blocks]) => `${tier} ${count(blocks)}`).join(", ") || "–";
