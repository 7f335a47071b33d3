// A curve of a few pixels.
const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, POINTS] = [64, 26, 64];

// The smoothed loss as a line, or null where there are not two numbers.
export function smallCurve({ steps, smoothed }) {
  const known = smoothed.map((value, at) => [steps[at], value]).filter(([, v]) => v != null);
  if (known.length < 2) return null;
  const every = Math.ceil(known.length / POINTS);
  const points = known.filter((_, at) => at % every === 0 || at === known.length - 1);
  const values = points.map(([, value]) => value);
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const [first, last] = [points[0][0], points.at(-1)[0]];
  const place = ([step, value]) => {
    const x = ((step - first) / (last - first)) * (WIDTH - 2) + 1;
    const y = HEIGHT - 2 - ((value - low) / (high - low || 1)) * (HEIGHT - 4);
    return `${x.toFixed(1)},${y.toFixed(1)}`;
  };
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  const line = document.createElementNS(SVG, "polyline");
  line.setAttribute("points", points.map(place).join(" "));
  svg.append(line);
  return svg;
}
