// A schedule in continuous time, to drag: the bound of infinitely many steps stands still, and all else moves.

import { clamp, controls, draggable, html, keys, openFigure, renew, svg, title } from "./common.js";
import { lineRule } from "./immse.js";
import { fixed, handle, keySteps, line, moveHandle, openPlot, scales, sharesAt, short, text } from "./plot.js";
import { live } from "./view.js";

// --- Numbers; the twin is dpm_lib.diffusion.continuous_bound. A pace { u, logTau } goes in straight lines. ---

/** Of y - E[y | z(t)]: mean square, mean fourth power, and the mean of Var[y | z]^2. */
export function errorMoments({ centers, weights, variance }, t, rule) {
  const width = variance + t;
  const shrink = variance / width;
  const s2 = shrink * t;
  const found = { second: 0, fourth: 0, squared: 0 };
  const share = new Float64Array(centers.length);
  const mean = new Float64Array(centers.length);
  for (let k = 0; k < centers.length; k++) {
    for (let i = 0; i < rule.nodes.length; i++) {
      const z = centers[k] + Math.sqrt(width) * rule.nodes[i];
      const nearest = 0.5 * rule.nodes[i] ** 2;
      let total = 0;
      let guess = 0;
      for (let j = 0; j < centers.length; j++) {
        share[j] = weights[j] * Math.exp(nearest - (z - centers[j]) ** 2 / (2 * width));
        mean[j] = centers[j] + shrink * (z - centers[j]);
        total += share[j];
        guess += share[j] * mean[j];
      }
      guess /= total;
      let second = s2;
      let fourth = 3 * s2 * s2;
      for (let j = 0; j < centers.length; j++) {
        const off = (mean[j] - guess) ** 2;
        second += (share[j] / total) * off;
        fourth += (share[j] / total) * (off * off + 6 * s2 * off);
      }
      const chance = weights[k] * rule.weights[i];
      found.second += chance * second;
      found.fourth += chance * fourth;
      found.squared += chance * second * second;
    }
  }
  return found;
}

// Gauss-Legendre nodes and weights on [-1, 1], 8 of them
const NODES = [0.1834346424956498, 0.525532409916329, 0.7966664774136267, 0.9602898564975363];
const SHARES = [0.362683783378362, 0.3137066458778873, 0.2223810344533745, 0.1012285362903763];

/** log tau at u. */
export function paceAt({ u, logTau }, at) {
  let i = 0;
  while (i + 2 < u.length && at > u[i + 1]) i++;
  return logTau[i] + ((at - u[i]) * (logTau[i + 1] - logTau[i])) / (u[i + 1] - u[i]);
}

/** What infinitely many steps lose, nats, and the spread of one draw of it: integrals over u, each line in `parts`. */
export function lossAndSpread(pace, data, rule, parts = 4) {
  let first = 0;
  let second = 0;
  for (let i = 0; i + 1 < pace.u.length; i++) {
    const rate = (pace.logTau[i + 1] - pace.logTau[i]) / (pace.u[i + 1] - pace.u[i]);
    const half = (pace.u[i + 1] - pace.u[i]) / (2 * parts);
    for (let p = 0; p < parts; p++) {
      for (let n = 0; n < 8; n++) {
        const root = (n < 4 ? -1 : 1) * NODES[n % 4];
        const logTau = paceAt(pace, pace.u[i] + half * (2 * p + 1 + root));
        const w = 0.5 * rate * Math.exp(-logTau);
        const error = errorMoments(data, Math.exp(logTau), rule);
        first += half * SHARES[n % 4] * w * error.second;
        second += half * SHARES[n % 4] * w * w * error.fourth;
      }
    }
  }
  return { loss: first, spread: Math.sqrt(Math.max(0, second - first * first)) };
}

/** What each of T - 1 steps loses, nats: T levels at even u. */
export function stepLosses(pace, T, data, rule) {
  const logTau = Array.from({ length: T }, (_, i) => paceAt(pace, i / (T - 1)));
  return logTau.slice(1).map((v, i) => {
    const gain = Math.exp(-logTau[i]) - Math.exp(-v);
    return 0.5 * gain * errorMoments(data, Math.exp(v), rule).second;
  });
}

/** The terms of K that no network enters, nats: they know the two ends alone. */
export function fixedTerms({ logTau }, data) {
  const square = data.variance + data.centers.reduce((sum, c, k) => sum + data.weights[k] * c * c, 0);
  const [first, last] = [logTau[0], logTau.at(-1)].map((v) => 1 / (1 + Math.exp(v))); // alpha_bar
  const prior = -0.5 * (Math.log(2 * Math.PI) + last * square + 1 - last);
  const edge = 0.5 * (first * square + 1 - first - square);
  return prior + edge + 0.5 * Math.log((1 - last) / (1 - first));
}

/** log tau at `knots` even u, for the pace whose share of u at log tau is the density's. */
export function paceOf(density, low, high, knots, cells = 120) {
  const at = Array.from({ length: cells + 1 }, (_, i) => low + ((high - low) * i) / cells);
  const values = at.map(density);
  const sums = [0];
  for (let i = 1; i <= cells; i++) sums.push(sums[i - 1] + 0.5 * (values[i] + values[i - 1]));
  const u = sums.map((v) => v / sums[cells]);
  return Array.from({ length: knots }, (_, k) => paceAt({ u, logTau: at }, k / (knots - 1)));
}

/** `logTau` at even u, moved by `by` at one of them, fading to 0 at `left` and `right`; or as near to it as still rises. */
export function bend(logTau, at, left, right, by) {
  const faded = (i) => (i === at ? 1 : Math.max(0, 1 - Math.abs(i - at) / (i < at ? at - left : right - at)));
  for (let tries = 0; tries < 12; tries++, by /= 2) {
    const bent = logTau.map((v, i) => (i < left || i > right ? v : v + by * faded(i)));
    if (bent.every((v, i) => i === 0 || v - bent[i - 1] > LEAST)) return bent;
  }
  return logTau;
}

// --- The figure. ---

const HANDLES = 9;
const EACH = 8; // lines from handle to handle
const KNOTS = (HANDLES - 1) * EACH + 1;
const DRAWS = 1000;
const LEAST = 1e-4; // between the heights of neighbours
const RANGE = [Math.log(1e-4), Math.log(1e3)];
const ENDS = [Math.log(1e-3), Math.log(100)];
const U = Array.from({ length: KNOTS }, (_, i) => i / (KNOTS - 1));
const RULE = lineRule(0.15);
const DATA = {
  clumps: { words: "three clumps", centers: [-1.5, 0.3, 1.2], weights: [0.3, 0.5, 0.2], variance: 0.04 },
  two: { words: "two narrow clumps", centers: [-1.2, 0.8], weights: [0.4, 0.6], variance: 0.005 },
  normal: { words: "one normal", centers: [0], weights: [1], variance: 0.3 },
};
const root = (part) => (data) => (v) => Math.sqrt(errorMoments(data, Math.exp(v), RULE)[part]) * Math.exp(-v);
const PRESETS = {
  "even in log τ": () => () => 1,
  cosine: () => (v) => 1 / Math.cosh(v / 2), // even in the angle arctan sqrt(tau)
  "least spread": root("fourth"),
  "least loss at large T": root("squared"),
};

function render({ model, el }) {
  const figure = openFigure(model, el, "paces");
  let T = model.get("T");
  let name = "clumps";
  let logTau;

  const curve = openPlot(figure, "dpm-curve", "The schedule", "group");
  const cost = openPlot(figure, "dpm-cost", "What is lost at each u: a curve, and a bar for each step");
  const results = Object.fromEntries(["limit", "K", "error"].map((key) => [key, html("b", { class: "dpm-value" })]));
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const preset = figure.presetChooser({ label: "Schedule", names: Object.keys(PRESETS), set: bent });
  const choice = figure.chooser({
    label: "Data",
    options: Object.entries(DATA).map(([key, { words }]) => [key, words]),
    value: name,
    set: (value) => {
      name = value;
      if (preset.select.value in PRESETS) bent(preset.select.value);
    },
  });
  const steps = figure.slider({ label: "Levels T", min: 3, max: 200, value: T, set: (value) => (T = value) });

  function bent(chosen, ends = logTau ? [logTau[0], logTau.at(-1)] : ENDS) {
    logTau = paceOf(PRESETS[chosen](DATA[name]), ...ends, KNOTS, 300);
  }
  figure.keep(
    "levels",
    () => Array.from({ length: HANDLES }, (_, k) => logTau[k * EACH]),
    (values) => values.forEach((value, k) => move(k, value - logTau[k * EACH])),
  );
  function move(k, by) {
    const at = k * EACH;
    const left = Math.max(0, at - EACH);
    const right = Math.min(KNOTS - 1, at + EACH);
    logTau = bend(logTau, at, left, right, clamp(logTau[at] + by, ...RANGE) - logTau[at]);
    preset.select.value = "your own";
    figure.redraw();
  }

  const MARGINS = { left: 44, right: 14, top: 10, bottom: 20, foot: 5 };
  const backdrop = svg("g");
  const knobs = Array.from({ length: HANDLES }, (_, k) => {
    const end = k === 0 ? "first" : k === HANDLES - 1 ? "last" : "";
    const node = handle({
      label: end ? `log tau at the ${end} level` : `log tau at u = ${k / (HANDLES - 1)}`,
      min: RANGE[0].toFixed(2),
      max: RANGE[1].toFixed(2),
      orientation: "vertical",
      kind: end && "dpm-end",
    });
    const drag = (event) => {
      const share = clamp(sharesAt(event, curve, MARGINS).y, 0, 1);
      move(k, RANGE[0] + (RANGE[1] - RANGE[0]) * share - logTau[k * EACH]);
    };
    draggable(node, { keys: keySteps(0.1, 1), step: (by) => move(k, by), drag });
    return node;
  });
  curve.replaceChildren(backdrop, ...knobs);

  function drawCurve() {
    const plot = scales(curve, MARGINS, [0, 1], RANGE);
    const decades = [-4, -2, 0, 2];
    renew(
      backdrop,
      ...decades.flatMap((d) => {
        const y = plot.y(d * Math.LN10);
        return [
          line(plot.left, y, plot.end, y, "dpm-grid"),
          text(plot.left - 5, y + 4, d ? String(10 ** d) : "1", "end"),
        ];
      }),
      plot.axis(),
      ...plot.marks([0, 0.25, 0.5, 0.75, 1], (v) => (v ? String(v) : "u = 0")),
      plot.curve("dpm-line", U, (u, k) => [u, logTau[k]]),
    );
    knobs.forEach((node, k) => {
      const v = logTau[k * EACH];
      moveHandle(node, plot.x(U[k * EACH]), plot.y(v), v.toFixed(2), `tau = ${short(Math.exp(v))}`);
    });
  }
  function drawCost(losses) {
    const points = U.map((u, i) => {
      const [before, after] = [Math.max(0, i - 1), Math.min(KNOTS - 1, i + 1)];
      const rate = (logTau[after] - logTau[before]) / (U[after] - U[before]);
      return [u, 0.5 * rate * Math.exp(-logTau[i]) * errorMoments(DATA[name], Math.exp(logTau[i]), RULE).second];
    });
    const bars = losses.map((loss) => loss * (T - 1));
    const top = 1.1 * Math.max(...points.map(([, v]) => v), 1e-9);
    const plot = scales(cost, MARGINS, [0, 1], [0, top], { held: "y" });
    renew(
      cost,
      ...bars.map((v, i) => plot.bar("dpm-bar", i / (T - 1), (i + 0.92) / (T - 1), v)),
      plot.curve("dpm-law dpm-ink-limit", points),
      ...plot.rows(
        [0, 0.5 * top, top].map((v) => Number(v.toPrecision(2))),
        short,
      ),
      plot.axis(),
      ...plot.marks([0, 0.25, 0.5, 0.75, 1], (v) => (v ? String(v) : "u = 0")),
    );
  }

  figure.draw = () => {
    const pace = { u: U, logTau };
    const { loss, spread } = lossAndSpread(pace, DATA[name], RULE, 1);
    const losses = stepLosses(pace, T, DATA[name], RULE);
    const edges = fixedTerms(pace, DATA[name]);
    const limit = edges - loss;
    const K = edges - losses.reduce((a, b) => a + b, 0);
    const error = spread / Math.sqrt(DRAWS);
    drawCurve();
    drawCost(losses);
    results.limit.textContent = fixed(limit, 4);
    results.K.textContent = fixed(K, 4);
    results.error.textContent = fixed(error, 4);
    detail.textContent =
      `From τ = ${short(Math.exp(logTau[0]))} to ${short(Math.exp(logTau.at(-1)))}. ` +
      `The area under the curve is ${fixed(loss, 4)} nats, that of the ${T - 1} bars ${fixed(edges - K, 4)}.`;
    Object.assign(figure.root.dataset, { limit, k: K, error, loss, t: T, name });
  };

  figure.add(
    controls(preset, steps, choice),
    title("Schedule τ(u)", " drag a point, or use the arrow keys; the two ends as well"),
    curve,
    title("What is lost at u", " nats per unit of u; bars beyond the top are cut"),
    cost,
    keys({ limit: "infinitely many steps: the area is all that counts", model: "T levels: a bar for each step" }),
    html(
      "p",
      { class: "dpm-results" },
      html("span", {}, "K of infinitely many steps = ", results.limit, " nats"),
      html("span", {}, "K of T levels = ", results.K, " nats"),
      html("span", {}, `standard error of ${DRAWS} draws = `, results.error, " nats"),
    ),
    detail,
  );
  bent(preset.select.value);
  figure.redraw();
  return figure.close;
}

export default live(render);
