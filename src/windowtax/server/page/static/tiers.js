// On which tiers the kept prefixes lie: in the pool, in host RAM, on disk. Shown where there are tiers below the pool.

import { json } from "./api.js";
import { byId, element, table, tile, whileShown } from "./dom.js";
import { bytes, count } from "./format.js";

const EVERY_MS = 5000, MOST_ROWS = 200;
const NAMES = { host: "Host RAM", disk: "Disk" };

export class Tiers {
  constructor() {
    this.look = whileShown(byId("blocks-view"), EVERY_MS, () => this.refresh());
  }

  async refresh() {
    const { tiers = {}, prefixes = [], next_prefix: next } = await json(`/v1/cache?prefixes=${MOST_ROWS}`);
    const below = Object.keys(NAMES).filter((name) => name in tiers);
    byId("tiers-section").hidden = !below.length;
    byId("tier-tiles").replaceChildren(...below.map((name) => tierTile(NAMES[name], tiers[name])));
    const head = ["Begins with", "At token", "Tokens", "Hits", "Pool", ...below.map((name) => NAMES[name])];
    const rows = prefixes.map((one) => row(one, ["device", ...below]));
    table("tiers", head, rows, next === null ? "" : "and more; see /v1/cache", "Nothing of yours is kept yet.");
  }
}

function tierTile(name, { blocks, bytes: size, budget_bytes: budget, stopped }) {
  const room = budget === null ? "without a limit" : `of ${bytes(budget)}`;
  return tile(name, bytes(size), `${count(blocks)} blocks, ${room}${stopped ? `; not written: ${stopped}` : ""}`);
}

// How much of a prefix a tier has: all of its blocks, some, or none.
function row(one, tiers) {
  const name = element("th", { scope: "row" }, one.words.trim().replace(/\s+/g, " ").slice(0, 90) || "(no text)");
  if (one.continues !== null) name.style.paddingLeft = "0.9rem";
  const cells = tiers.map((tier) => share(one.tiers[tier], one.blocks));
  const figures = [count(one.first_token), count(one.tokens), count(one.hits)].map((text) => element("td.num", text));
  return element("tr", name, ...figures, ...cells);
}

function share(have, all) {
  const text = !have ? "–" : have === all ? "all" : `${count(have)} of ${count(all)}`;
  return element(have ? "td.num" : "td.num.remark", { title: `${count(have)} of ${count(all)} blocks` }, text);
}
