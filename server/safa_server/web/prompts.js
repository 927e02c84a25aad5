/** Prompts as the page handles them, without a page: lines, pads, and the blend that a point on the surface means. */

export const MOST_PADS = 6;

/** "rain, birds:0.4" -> [{text, weight}]; what is no weight above 0 counts as 1. */
export function parseLine(line) {
  return line.split(",").flatMap((part) => {
    const [text, number] = part.split(":").map((piece) => piece.trim().replace(/\s+/g, " "));
    const weight = Number(number);
    return text ? [{ text, weight: number && weight > 0 && Number.isFinite(weight) ? weight : 1 }] : [];
  });
}

/** What the server is told: pads that weigh something, each text once. */
export function toPrompts(pads) {
  const found = new Map();
  for (const { text, weight } of pads) {
    const key = text.toLowerCase();
    if (weight > 0) found.set(key, { text, weight: round(weight + (found.get(key)?.weight ?? 0)) });
  }
  return [...found.values()];
}

/** One text for the same prompts in whatever order, to see whether two mean the same. */
export const keyOf = (prompts) => JSON.stringify(prompts.map(({ text, weight }) => [text.toLowerCase(), round(weight)]).sort());

/** Pads for prompts; weights above 1 are scaled, for only their relations count. */
export function toPads(prompts) {
  const most = Math.max(1, ...prompts.map(({ weight }) => weight));
  return prompts.slice(0, MOST_PADS).map(({ text, weight }) => ({ text, weight: round(weight / most) }));
}

export const inWords = (prompts) => prompts.map(({ text }) => text).join(", ");

/** Where `count` prompts stand on the surface, as points in 0..1 x 0..1, evenly on a circle, the first on the left. */
export function places(count) {
  if (count === 1) return [{ x: 0.5, y: 0.5 }];
  const turn = (n) => (2 * Math.PI * n) / count + (count === 2 ? Math.PI : Math.PI * (1 + 1 / count));
  return Array.from({ length: count }, (_, n) => ({ x: 0.5 + 0.36 * Math.cos(turn(n)), y: 0.5 + 0.36 * Math.sin(turn(n)) }));
}

/** Weights (sum 1) of `points` as seen from `at`: each by the inverse square of its distance; faint ones are left out. */
export function blend(points, at) {
  const squares = points.map((point) => (point.x - at.x) ** 2 + (point.y - at.y) ** 2);
  const on = squares.findIndex((square) => square < 1e-3);
  const raw = squares.map((square, n) => (on < 0 ? 1 / square : Number(n === on)));
  const sum = raw.reduce((total, weight) => total + weight, 0);
  return raw.map((weight) => (weight / sum < 0.03 ? 0 : round(weight / sum)));
}

/** The point that weights pull towards. */
export function centre(points, weights) {
  const sum = weights.reduce((total, weight) => total + weight, 0) || 1;
  const mean = (axis) => points.reduce((total, point, n) => total + point[axis] * weights[n], 0) / sum;
  return points.length ? { x: mean("x"), y: mean("y") } : { x: 0.5, y: 0.5 };
}

function round(value) {
  return Math.round(value * 100) / 100;
}
