// A small line of the last values; gaps where there was none.

const WIDTH = 120, HEIGHT = 26, SVG = "http://www.w3.org/2000/svg";

export function sparkline(values) {
  const known = values.filter((value) => value !== null && value !== undefined), top = Math.max(...known, 0) || 1;
  const svg = document.createElementNS(SVG, "svg"), path = document.createElementNS(SVG, "path");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "sparkline");
  svg.setAttribute("aria-hidden", "true");
  let drawn = "", pen = "M";
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      pen = "M";
      return;
    }
    const left = (WIDTH * index) / Math.max(1, values.length - 1), down = HEIGHT - 2 - (HEIGHT - 4) * (value / top);
    drawn += `${pen}${left.toFixed(1)} ${down.toFixed(1)}`;
    pen = "L";
  });
  path.setAttribute("d", drawn);
  svg.append(path);
  return svg;
}
