// The main gauges, live, with a line for each of the last two minutes.

import { call } from "./api.js";
import { byId, tile, whileShown } from "./dom.js";
import { bytes, count, percent, rate, seconds, usd } from "./format.js";
import { between, parse, quantile } from "./prometheus.js";
import { sparkline } from "./sparkline.js";

const EVERY_MS = 1000, KEPT = 120, RATE_OVER = 10;

export class Metrics {
  constructor() {
    this.readings = [];
    this.lines = {};
    this.look = whileShown(byId("metrics-view"), EVERY_MS, () => this.refresh());
  }

  async refresh() {
    const reading = { at: performance.now() / 1000, ...parse(await (await call("/metrics")).text()) };
    this.readings.push(reading);
    if (this.readings.length > KEPT) this.readings.shift();
    byId("gauges").replaceChildren(...this.tiles(reading));
  }

  tiles(now) {
    const { values } = now, ttft = this.recent("time_to_first_token_seconds"), itl = this.recent("inter_token_latency_seconds");
    const speed = this.perSecond((one) => one.histograms.time_to_first_token_seconds.count + one.histograms.inter_token_latency_seconds.count);
    const used = values.kv_cache_usage_perc, hits = values.prefix_cache_hits_total, asked = values.prefix_cache_queries_total;
    return [
      this.tile("Running", values.num_requests_running, count, "requests that hold blocks"),
      this.tile("Waiting", values.num_requests_waiting, count, "requests in the queue"),
      this.tile("Tokens out", speed, (value) => `${rate(value)}/s`, `${count(values.generation_tokens_total)} in ended requests`),
      this.tile("First token (TTFT)", quantile(ttft, 0.5), seconds, `median; 95% within ${or(quantile(ttft, 0.95), seconds)}; ${of(ttft, this.isRecent)}`),
      this.tile("Each token (TPOT)", itl.count ? itl.sum / itl.count : null, seconds, `mean; 95% within ${or(quantile(itl, 0.95), seconds)}`),
      this.tile("Cache in use", used, percent, `${bytes(values.kv_held_bytes)} of ${bytes(values.kv_pool_bytes)} held`),
      this.tile("Found in the cache", asked ? hits / asked : null, percent, `${count(hits)} of ${count(asked)} prompt tokens`),
      this.tile("Preemptions", values.num_preemptions_total, count, "requests that gave blocks back"),
      this.tile("Spent here", values.request_cost_dollars_total, usd, `${usd(values.request_api_cost_dollars_total)} at the API compared with`),
    ];
  }

  tile(label, value, format, remark) {
    const line = (this.lines[label] ??= []);
    line.push(value);
    if (line.length > KEPT) line.shift();
    return tile(label, or(value, format), remark, sparkline(line));
  }

  // What a histogram took in the last seconds; all of it where that was nothing.
  recent(name) {
    const now = this.readings.at(-1).histograms[name], found = between(this.before()?.histograms[name], now);
    this.isRecent = found.count > 0;
    return this.isRecent ? found : now;
  }

  perSecond(counter) {
    const now = this.readings.at(-1), before = this.before();
    return before ? (counter(now) - counter(before)) / (now.at - before.at) : 0;
  }

  // The reading of so many seconds ago, or the first; none where there is only one.
  before() {
    return this.readings.length > 1 ? this.readings.at(-1 - Math.min(RATE_OVER, this.readings.length - 1)) : null;
  }
}

const or = (value, format) => (value === null || value === undefined ? "–" : format(value));

const of = (histogram, recent) => `${count(histogram.count)} requests${recent ? "" : ", all so far"}`;
