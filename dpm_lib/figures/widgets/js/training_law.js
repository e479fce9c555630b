// What is trained on: curves and clumps with a Gaussian blur. By Gauss-Legendre quadrature along the curves this is a
// mixture of equal Gaussians, as dpm_lib.probability.mixtures.Mixture: its density, draws and entropy are exact, but for
// what is said beside each.

/** The pieces of curves, each { at(u), density(u), length } for u in 0..1, and clumps: [x, y, weight]. In units of the drawing. */
export function piecesOf({ kind, strokes = [], dots = [] }) {
  const even = () => 1;
  const lines = (points) =>
    points.slice(1).flatMap(([x, y], i) => {
      const [fromX, fromY] = points[i];
      const length = Math.hypot(x - fromX, y - fromY);
      const at = (u) => [fromX + u * (x - fromX), fromY + u * (y - fromY)];
      return length > 0 ? [{ at, density: even, length }] : [];
    });
  const arc = (x, y, radius, from, to) => ({
    at: (u) => [x + radius * Math.cos(from + u * (to - from)), y + radius * Math.sin(from + u * (to - from))],
    density: even,
    length: radius * Math.abs(to - from),
  });
  const clump = 4; // a clump weighs as much as a curve of this length
  const { PI } = Math;
  if (kind === "roll") {
    const [first, last] = [1.5 * PI, 4.5 * PI];
    const phi = (u) => Math.sqrt(first ** 2 + (last ** 2 - first ** 2) * u); // u is about the length of the curve
    const at = (u) => [phi(u) * Math.cos(phi(u)), phi(u) * Math.sin(phi(u))];
    return { curves: [{ at, density: (u) => 1 / phi(u), length: (last ** 2 - first ** 2) / 2 }], clumps: [] };
  }
  if (kind === "moons") return { curves: [arc(-4, -2, 8, 0, PI), arc(4, 2, 8, PI, 2 * PI)], clumps: [] };
  if (kind === "k") {
    const parts = [
      [
        [-6, -11],
        [-6, 11],
      ],
      [
        [7, 11],
        [-6, -1],
      ],
      [
        [-2, 2.7],
        [7, -11],
      ],
    ]; // prettier-ignore
    return { curves: parts.flatMap(lines), clumps: [] };
  }
  if (kind === "s") return { curves: [arc(0, 5, 5, 0.3, 1.5 * PI), arc(0, -5, 5, 0.5 * PI, -PI + 0.3)], clumps: [] };
  if (kind === "clumps") {
    const around = Array.from({ length: 8 }, (_, i) => [11 * Math.cos((i * PI) / 4), 11 * Math.sin((i * PI) / 4), 1]);
    return { curves: [], clumps: around };
  }
  return { curves: strokes.flatMap(lines), clumps: dots.map(([x, y]) => [x, y, clump]) };
}

/** Why there is no law in a drawing with this noise, in words; null where there is one. */
export function whyNot(drawing) {
  const { noise } = drawing;
  const { curves, clumps } = piecesOf(drawing);
  if (!curves.length && !clumps.length) return "The drawing is empty: draw a curve, or click for a clump.";
  if (!(noise > 0)) {
    return "Without blur a curve has no density: −H(X₀) would be infinite, and K could grow for ever. Choose a blur above 0.";
  }
  if (!curves.length && new Set(clumps.map(([x, y]) => `${x} ${y}`)).size < 2) {
    return "One dot alone, once scaled, is the noise itself: there is nothing to learn. Add another, or a curve.";
  }
  return null;
}

/**
 * The law of a drawing: centred, and scaled by one factor so that E|x_0|^2 = 2, { centers (m, 2), weights (m,), variance,
 * scale, shift, entropy, entropyError }; entropies in nats. Along curves, panels of two widths have 8 nodes: the log density
 * is then right to 1e-8 nats within 6 widths of a smooth curve.
 */
export function openLaw(drawing) {
  const why = whyNot(drawing);
  if (why) throw new Error(why);
  const { noise } = drawing;
  const { curves, clumps } = piecesOf(drawing);
  const roots = [0.1834346424956498, 0.525532409916329, 0.7966664774136267, 0.9602898564975363];
  const shares = [0.362683783378362, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763];
  const [centers, weights] = [[], []];
  for (const { at, density, length } of curves) {
    const panels = Math.max(1, Math.ceil(length / (2 * noise)));
    const own = [];
    for (let p = 0; p < panels; p++) {
      for (let r = 0; r < 8; r++) {
        const root = r < 4 ? -roots[3 - r] : roots[r - 4];
        const u = (p + 0.5 + 0.5 * root) / panels;
        own.push([u, (density(u) * shares[r < 4 ? 3 - r : r - 4]) / (2 * panels)]);
      }
    }
    const total = own.reduce((sum, [, weight]) => sum + weight, 0);
    for (const [u, weight] of own) {
      centers.push(...at(u));
      weights.push((length * weight) / total);
    }
  }
  for (const [x, y, weight] of clumps) {
    centers.push(x, y);
    weights.push(weight);
  }
  const total = weights.reduce((sum, w) => sum + w, 0);
  const even = Float64Array.from(weights, (w) => w / total);
  const mean = (d) => even.reduce((sum, w, i) => sum + w * centers[2 * i + d], 0);
  const shift = [mean(0), mean(1)];
  const spread = even.reduce(
    (sum, w, i) => sum + w * ((centers[2 * i] - shift[0]) ** 2 + (centers[2 * i + 1] - shift[1]) ** 2),
    0,
  );
  const scale = Math.sqrt(2 / (spread + 2 * noise ** 2));
  const places = Float64Array.from(centers, (v, i) => scale * (v - shift[i % 2]));
  let sum = 0;
  const below = even.map((w) => (sum += w));
  const law = { centers: places, weights: even, below, variance: (noise * scale) ** 2, scale, shift };
  return Object.assign(law, entropyOf(law));
}

/** n draws, (n, 2). */
export function drawFromLaw({ centers, below, variance }, n, uniform) {
  const width = Math.sqrt(variance);
  const points = new Float64Array(2 * n);
  const total = below.at(-1);
  for (let i = 0; i < n; i++) {
    const u = total * uniform();
    let [low, high] = [0, below.length - 1];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (below[middle] < u) low = middle + 1;
      else high = middle;
    }
    const radius = width * Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    points[2 * i] = centers[2 * low] + radius * Math.cos(angle);
    points[2 * i + 1] = centers[2 * low + 1] + radius * Math.sin(angle);
  }
  return points;
}

/** log q at points (n, 2): (n,), nats. */
export function logDensity({ centers, weights, variance }, points) {
  const n = points.length / 2;
  const m = weights.length;
  const found = new Float64Array(n);
  const exponents = new Float64Array(m);
  const logs = weights.map(Math.log);
  for (let i = 0; i < n; i++) {
    let most = -Infinity;
    for (let k = 0; k < m; k++) {
      const [x, y] = [points[2 * i] - centers[2 * k], points[2 * i + 1] - centers[2 * k + 1]];
      exponents[k] = logs[k] - (x * x + y * y) / (2 * variance);
      if (exponents[k] > most) most = exponents[k];
    }
    let sum = 0;
    for (let k = 0; k < m; k++) if (exponents[k] > most - 40) sum += Math.exp(exponents[k] - most);
    found[i] = most + Math.log(sum) - Math.log(2 * Math.PI * variance);
  }
  return found;
}

/**
 * The entropy, nats, by the trapezoid rule on a grid of a third of a width, and how far a grid of twice that is off:
 * { entropy, entropyError }. The rule's error falls faster than any power, so the finer grid's is far smaller.
 */
export function entropyOf({ centers, weights, variance }, fineness = 3) {
  const width = Math.sqrt(variance);
  const reach = Math.ceil(8.5 * fineness);
  const step = width / fineness;
  const ends = [0, 1].map((d) => {
    let [low, high] = [Infinity, -Infinity];
    for (let k = d; k < centers.length; k += 2) [low, high] = [Math.min(low, centers[k]), Math.max(high, centers[k])];
    return [low - reach * step, Math.ceil((high - low) / step) + 2 * reach + 2];
  });
  const [[left, columns], [bottom, rows]] = ends;
  const density = new Float64Array(columns * rows);
  const [across, up] = [new Float64Array(2 * reach + 1), new Float64Array(2 * reach + 1)];
  for (let k = 0; k < weights.length; k++) {
    const [x, y] = [(centers[2 * k] - left) / step, (centers[2 * k + 1] - bottom) / step];
    const [i, j] = [Math.round(x) - reach, Math.round(y) - reach];
    for (let r = 0; r <= 2 * reach; r++) {
      across[r] = Math.exp(-0.5 * ((i + r - x) / fineness) ** 2);
      up[r] = (weights[k] * Math.exp(-0.5 * ((j + r - y) / fineness) ** 2)) / (2 * Math.PI * variance);
    }
    for (let s = 0; s <= 2 * reach; s++) {
      const row = (j + s) * columns + i;
      for (let r = 0; r <= 2 * reach; r++) density[row + r] += up[s] * across[r];
    }
  }
  let [all, some] = [0, 0];
  for (let j = 0; j < rows; j++) {
    for (let i = 0; i < columns; i++) {
      const q = density[j * columns + i];
      if (q <= 0) continue;
      const term = -q * Math.log(q);
      all += term;
      if (i % 2 === 0 && j % 2 === 0) some += term;
    }
  }
  const entropy = all * step * step;
  return { entropy, entropyError: Math.abs(entropy - 4 * some * step * step) };
}
