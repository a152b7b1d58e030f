// The bill under an answer: what the server measured and priced. Nothing is estimated here.

import { element } from "./dom.js";
import { bytes, count, percent, seconds, usd } from "./format.js";

const TIERS = { device: "in the pool", host: "in host RAM", disk: "on disk" };

// usage: as the last chunk of a stream has it.
export function bill(usage) {
  const box = element("details.bill", element("summary", ...summary(usage)));
  box.append(element("table.figures", element("tbody", ...rows(usage).map(row))));
  return box;
}

// Why the prefix was not found any further, from which token on, and where in the prompt that is.
function missRemark(miss) {
  if (!miss) return "";
  const place = miss.position ? `from token ${count(miss.position)} on, in ${miss.where}: ` : "";
  const parted = miss.token === null ? "" : ` (${JSON.stringify(miss.token)} where ${JSON.stringify(miss.kept_token)} was)`;
  const price = [miss.lost_s_estimate !== null && seconds(miss.lost_s_estimate), miss.lost_usd !== null && usd(miss.lost_usd)];
  const lost = miss.lost_tokens ? `; it lost ${[`${count(miss.lost_tokens)} tokens`, ...price.filter(Boolean)].join(", ")}` : "";
  return `${place}${miss.meaning}${parted}${lost}`;
}

function summary(usage) {
  const own = usage.windowtax, parts = [
    `${count(usage.prompt_tokens)} tokens in`,
    `${count(usage.prompt_tokens_details.cached_tokens)} of them cached`,
    `${count(usage.completion_tokens)} out`,
    own.ttft_s !== null && `first after ${seconds(own.ttft_s)}`,
    own.tpot_s !== null && `${seconds(own.tpot_s)} each`,
    own.usd !== null && usd(own.usd),
  ];
  return parts.filter(Boolean).flatMap((part, index) => (index ? [" · ", element("span", part)] : [element("span", part)]));
}

function rows(usage) {
  const own = usage.windowtax, cached = usage.prompt_tokens_details.cached_tokens;
  return [
    ["Prompt", `${count(usage.prompt_tokens)} tokens`, ""],
    ["Found in the cache", `${count(cached)} tokens`, cachedRemark(usage, own)],
    ["Computed anew", `${count(usage.prompt_tokens - cached)} tokens`, missRemark(own.miss)],
    ["Answer", `${count(usage.completion_tokens)} tokens`, ""],
    ["First token (TTFT)", time(own.ttft_s), `waited ${seconds(own.queue_s)}, prompt ${seconds(own.prefill_s)}`],
    ["Each further token (TPOT)", time(own.tpot_s), own.tpot_s ? `${(1 / own.tpot_s).toFixed(1)} tokens/s` : ""],
    ["KV cache at its peak", bytes(own.kv_peak_bytes), `${count(own.kv_peak_bytes)} B`],
    ["KV cache held", `${byteSeconds(own.kv_byte_seconds)}`, "bytes, times how long they were held"],
    ["Computing spared", own.recompute_avoided_s === null ? "–" : seconds(own.recompute_avoided_s),
      `${count(own.recompute_avoided_tokens)} tokens at this server's mean`],
    ["Cost here", own.usd === null ? "–" : usd(own.usd), own.usd === null ? "start with --usd-per-hour to see it" : `${seconds(own.compute_s)} of this machine`],
    [`Cost at ${own.api}`, usd(own.usd_api), "list price, with the same tokens cached there"],
    own.preemptions > 0 && ["Preempted", `${count(own.preemptions)} times`, "it gave its blocks back to others"],
  ].filter(Boolean);
}

const time = (value) => (value === null ? "–" : seconds(value));

const byteSeconds = (value) => `${bytes(value)}·s`;

function cachedRemark(usage, own) {
  const by = Object.entries(own.cached_tokens_by_tier).filter(([, tokens]) => tokens > 0);
  const share = usage.prompt_tokens ? percent(usage.prompt_tokens_details.cached_tokens / usage.prompt_tokens) : "";
  return [`${share} of the prompt`, ...by.map(([tier, tokens]) => `${count(tokens)} ${TIERS[tier] ?? tier}`)].join(", ");
}

function row([label, value, remark]) {
  return element("tr", element("th", { scope: "row" }, label), element("td.num", value), element("td.remark", remark));
}
