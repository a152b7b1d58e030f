// Reads the text of /metrics: sums and histograms of our own names.

const LINE = /^windowtax:([a-z0-9_]+)(?:\{(.*)\})? (\S+)$/;

// Name -> value, summed over labels; histograms by base name, as { buckets: [[le, count]], sum, count }.
export function parse(text) {
  const values = {}, histograms = {};
  for (const line of text.split("\n")) {
    const match = line.match(LINE);
    if (!match) continue;
    const [, name, labels, value] = match, part = name.match(/^(.*)_(bucket|sum|count)$/);
    if (part) {
      const one = (histograms[part[1]] ??= { buckets: [], sum: 0, count: 0 });
      if (part[2] === "bucket") one.buckets.push([number(labels.match(/le="([^"]+)"/)[1]), Number(value)]);
      else one[part[2]] = Number(value);
    } else {
      values[name] = (values[name] ?? 0) + Number(value);
    }
  }
  return { values, histograms };
}

const number = (text) => (text === "+Inf" ? Infinity : Number(text));

// What was observed between two readings of one histogram.
export function between(before, now) {
  if (!before) return now;
  const buckets = now.buckets.map(([le, total], index) => [le, total - before.buckets[index][1]]);
  return { buckets, sum: now.sum - before.sum, count: now.count - before.count };
}

// A quantile, as Prometheus' histogram_quantile has it: linear inside its bucket. null where nothing was observed.
export function quantile(histogram, share) {
  const { buckets, count } = histogram;
  if (!count) return null;
  const wanted = share * count, index = buckets.findIndex(([, total]) => total >= wanted);
  const [high, total] = buckets[index], [low, before] = index ? buckets[index - 1] : [0, 0];
  if (high === Infinity) return low;
  return low + ((high - low) * (wanted - before)) / (total - before || 1);
}
