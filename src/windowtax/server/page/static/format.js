// How quantities are shown: as base/units.py shows them in the terminal.

const BYTES = [["TiB", 2 ** 40], ["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]];

export const count = (number) => Math.round(number).toLocaleString("en-US");

export function bytes(size) {
  for (const [name, unit] of BYTES) if (Math.abs(size) >= unit) return `${fixed(size / unit, 2)} ${name}`;
  return `${count(size)} B`;
}

export function seconds(time) {
  if (time >= 120) return `${Math.floor(time / 60)} min ${Math.floor(time % 60)} s`;
  if (time >= 1) return `${time.toFixed(2)} s`;
  if (time >= 1e-3) return `${(time * 1e3).toFixed(time >= 0.1 ? 0 : 2)} ms`;
  return time ? `${(time * 1e6).toFixed(1)} µs` : "0 s";
}

export function usd(dollars) {
  if (dollars === 0) return "$0";
  if (Math.abs(dollars) >= 1) return `$${fixed(dollars, 2)}`;
  return `$${dollars.toFixed(Math.min(12, 2 - Math.floor(Math.log10(Math.abs(dollars)))))}`;
}

export const percent = (share) => `${(100 * share).toFixed(share > 0 && share < 0.1 ? 1 : 0)}%`;

export const rate = (number) => (number >= 100 ? count(number) : number.toFixed(1));

function fixed(number, digits) {
  return number.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
