// Two modes of unequal share, sampled on the line by six ways that cost the same number of calls of the score.

import {
  button,
  cleared,
  controls,
  fillNormals,
  html,
  isCalm,
  keys,
  openFigure,
  renew,
  svg,
  title,
  uniforms,
} from "./common.js";
import { lineCdf, lineDensity, lineScore } from "./mixture.js";
import { evenly, fixed, line, openPlot, scales, short, text } from "./plot.js";
import { weigh } from "./probability.js";
import { live } from "./view.js";

// --- Numbers. A setting is { share, m, variance, top, bottom, ratio, level }: modes N(-m, variance) and N(m, variance),
// the right one with this share; levels of noise from top to bottom; steps of variance ratio t at level t. Each way gives
// a row after every call: { x, logWeights or null, t }. `normals()` gives n fresh normal numbers, `turns()` uniform ones.

export const target = ({ share, m, variance }) => ({ centers: [-m, m], weights: [1 - share, share], variance });

/** The normal law with the mean and variance of the noisiest data: where all ways start. */
export function startLaw({ share, m, variance, top }) {
  return { mean: (2 * share - 1) * m, variance: variance + 4 * share * (1 - share) * m * m + top };
}

const fromStart = (setting, noise) => {
  const { mean, variance } = startLaw(setting);
  return noise.map((g) => mean + Math.sqrt(variance) * g);
};

const logStart = (z, setting) => {
  const { mean, variance } = startLaw(setting);
  return -0.5 * ((z - mean) ** 2 / variance + Math.log(2 * Math.PI * variance));
};

const logNoisy = (z, t, law) => {
  const width = law.variance + t;
  const logs = law.centers.map((c, k) => Math.log(law.weights[k]) - (z - c) ** 2 / (2 * width));
  const most = Math.max(...logs);
  return most + Math.log(logs.reduce((sum, v) => sum + Math.exp(v - most), 0)) - 0.5 * Math.log(2 * Math.PI * width);
};

/** `count` levels from top to bottom, each the same factor below the one before. */
export const geometric = (top, bottom, count) =>
  Array.from({ length: count }, (_, i) => top * (bottom / top) ** (count > 1 ? i / (count - 1) : 1));

const stepped = (x, t, step, law, noise) =>
  x.map((z, i) => z + 0.5 * step * lineScore(z, t, law) + Math.sqrt(step) * noise[i]);

/** Langevin at one level: a call is a step. */
function oneLevel(setting, calls, normals) {
  const [law, t] = [target(setting), setting.level];
  const rows = [{ x: fromStart(setting, normals()), logWeights: null, t }];
  for (let k = 0; k < calls; k++)
    rows.push({ x: stepped(rows[k].x, t, setting.ratio * t, law, normals()), logWeights: null, t });
  return rows;
}

/** Annealed Langevin: four steps at each level. */
function annealed(setting, calls, normals) {
  const law = target(setting);
  const rows = [{ x: fromStart(setting, normals()), logWeights: null, t: setting.top }];
  for (const t of geometric(setting.top, setting.bottom, calls / 4))
    for (let s = 0; s < 4; s++)
      rows.push({ x: stepped(rows.at(-1).x, t, setting.ratio * t, law, normals()), logWeights: null, t });
  return rows;
}

/** With weights: three steps at each level, since weights take one more score there. */
function weighted(setting, calls, normals) {
  const law = target(setting);
  let x = fromStart(setting, normals());
  const sums = x.map((z) => -logStart(z, setting));
  const seen = (t) => sums.map((sum, i) => sum + logNoisy(x[i], t, law));
  const rows = [{ x, logWeights: seen(setting.top), t: setting.top }];
  for (const t of geometric(setting.top, setting.bottom, calls / 4)) {
    rows.push({ x, logWeights: seen(t), t });
    for (let s = 0; s < 3; s++) {
      const [step, noise, before] = [setting.ratio * t, normals(), x];
      x = stepped(before, t, step, law, noise);
      x.forEach((z, i) => {
        const back = z + 0.5 * step * lineScore(z, t, law);
        sums[i] += 0.5 * (noise[i] ** 2 - (before[i] - back) ** 2 / step);
      });
      rows.push({ x, logWeights: seen(t), t });
    }
  }
  return rows;
}

/** Annealed importance sampling over even inverse temperatures, one Metropolis move of size `walk` at each. */
function tempered(setting, calls, normals, turns) {
  const [law, t] = [target(setting), setting.bottom];
  const ends = (z) => [logStart(z, setting), logNoisy(z, t, law)];
  const path = ([q, p], b) => (1 - b) * q + b * p;
  let x = fromStart(setting, normals());
  let at = Array.from(x, ends);
  let sums = new Float64Array(x.length);
  const rows = [{ x, logWeights: sums, t, b: 0 }];
  for (let k = 1; k <= calls; k++) {
    sums = sums.map((sum, i) => sum + (at[i][1] - at[i][0]) / calls);
    if (k < calls) {
      const [noise, chance, b] = [normals(), turns(), k / calls];
      const next = x.map((z, i) => z + setting.walk * noise[i]);
      const there = Array.from(next, ends);
      const moves = there.map((pair, i) => Math.log(chance[i]) < path(pair, b) - path(at[i], b));
      x = x.map((z, i) => (moves[i] ? next[i] : z));
      at = at.map((pair, i) => (moves[i] ? there[i] : pair));
    }
    rows.push({ x, logWeights: sums, t, b: k / calls });
  }
  return rows;
}

/** The reverse chain, whose steps have the variance dt (1 - dt / t). */
function reverseChain(setting, calls, normals) {
  const law = target(setting);
  const levels = geometric(setting.top, setting.bottom, calls + 1);
  const rows = [{ x: fromStart(setting, normals()), logWeights: null, t: levels[0] }];
  for (let k = 0; k < calls; k++) {
    const [t, dt, noise] = [levels[k], levels[k] - levels[k + 1], normals()];
    const x = rows[k].x.map((z, i) => z + dt * lineScore(z, t, law) + Math.sqrt(dt * (1 - dt / t)) * noise[i]);
    rows.push({ x, logWeights: null, t: levels[k + 1] });
  }
  return rows;
}

/** The probability flow by Heun's method in log t: two calls a step, the first of them a step of Euler's. */
function flow(setting, calls, normals) {
  const law = target(setting);
  const levels = geometric(setting.top, setting.bottom, calls / 2 + 1);
  const rows = [{ x: fromStart(setting, normals()), logWeights: null, t: levels[0] }];
  for (let k = 0; k < calls / 2; k++) {
    const [x, t, after] = [rows.at(-1).x, levels[k], levels[k + 1]];
    const h = Math.log(after / t);
    const slope = x.map((z) => -0.5 * t * lineScore(z, t, law));
    const euler = x.map((z, i) => z + h * slope[i]);
    const heun = x.map((z, i) => z + 0.5 * h * (slope[i] - 0.5 * after * lineScore(euler[i], after, law)));
    rows.push({ x: euler, logWeights: null, t: after }, { x: heun, logWeights: null, t: after });
  }
  return rows;
}

export const WAYS = {
  one: { words: "Langevin at one level", run: oneLevel, ink: "muted" },
  annealed: { words: "annealed Langevin", run: annealed, ink: "model" },
  weighted: { words: "annealed, with weights", run: weighted, ink: "limit" },
  tempered: { words: "temperatures, with weights", run: tempered, ink: "limit" },
  chain: { words: "reverse chain", run: reverseChain, ink: "drift" },
  flow: { words: "probability flow", run: flow, ink: "data" },
};

/** All rows of a way with `n` particles. */
export function wholeWay(name, setting, calls, n, seed) {
  const uniform = uniforms(seed);
  const normals = () => fillNormals(new Float64Array(n), uniform);
  return WAYS[name].run(setting, calls, normals, () => Float64Array.from({ length: n }, uniform));
}

/** The share at z > 0 with its standard error, the variance about the nearer mode, and the effective number. */
export function summary({ x, logWeights }, m) {
  const { shares, size } = weigh(logWeights ?? new Float64Array(x.length));
  let [share, spread, square] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    if (x[i] > 0) share += shares[i];
    spread += shares[i] * (Math.abs(x[i]) - m) ** 2;
  }
  for (let i = 0; i < x.length; i++) square += (shares[i] * ((x[i] > 0 ? 1 : 0) - share)) ** 2;
  return { share, error: Math.sqrt(square), spread, size };
}

/** The exact share and variance about the nearer mode, of the data with noise t: the second by a fine sum. */
export function exactly(setting, t) {
  const law = target(setting);
  const reach = setting.m + 9 * Math.sqrt(law.variance + t);
  const h = reach / 4000;
  const spread = evenly(-reach, reach, 8000).reduce(
    (sum, z) => sum + h * lineDensity(z, t, law) * (Math.abs(z) - setting.m) ** 2,
    0,
  );
  return { share: 1 - lineCdf(0, t, law), spread };
}

// --- The figure. ---

const CALLS = [8, 16, 32, 64, 128, 256];
const MARGINS = { left: 40, right: 12, top: 10, bottom: 22, gap: 6, foot: 5 };

function render({ model, el }) {
  const figure = openFigure(model, el, "ladder");
  const { root, colours } = figure;
  const names = ["share", "m", "variance", "top", "bottom", "ratio", "level", "walk"];
  const setting = Object.fromEntries(names.map((name) => [name, model.get(name)]));
  const n = model.get("n");
  const truth = exactly(setting, setting.bottom);
  let calls = 64;
  let way = "annealed";
  let seed = 1;
  let k = calls;
  let position = 1;
  let runs;
  let shade;

  const run = figure.inSlices(function* () {
    const ways = {};
    for (const name of Object.keys(WAYS)) {
      const rows = wholeWay(name, setting, calls, n, seed);
      yield;
      ways[name] = { rows, found: rows.map((row) => summary(row, setting.m)) };
      yield;
    }
    runs = ways;
    shade = null;
    figure.redraw();
  });

  const cloud = figure.canvas("Particles on the line against the calls that they have used; area is weight");
  const course = openPlot(figure, "dpm-course", "Share of the right mode against the calls, with its standard error");
  const all = openPlot(figure, "dpm-all", "Share of the right mode that each way ends with, with its standard error");
  const detail = html("p", { class: "dpm-detail dpm-now" });

  const reach = () => setting.m + 1.6 * Math.sqrt(setting.top);
  const margin = () => 14 * devicePixelRatio;
  const across = (j) => margin() + (j / calls) * (cloud.width - 2 * margin());

  /** The density that the way is after at each call, as faint columns. */
  function shadeColumns(context) {
    const [columns, cells] = [Math.min(calls, 48), 72];
    const law = target(setting);
    shade ??= Array.from({ length: columns }, (_, c) => {
      const { t, b } = runs[way].rows[Math.round(((c + 0.5) / columns) * calls)];
      const spots = Array.from({ length: cells }, (__, r) => reach() - (2 * reach() * (r + 0.5)) / cells);
      const heights =
        b === undefined
          ? spots.map((z) => lineDensity(z, t, law))
          : spots.map((z) => Math.exp((1 - b) * logStart(z, setting) + b * logNoisy(z, t, law)));
      const total = heights.reduce((sum, v) => sum + v, 0) * ((2 * reach()) / cells);
      return heights.map((v) => v / total);
    });
    context.fillStyle = colours.drift;
    const [width, height] = [(cloud.width - 2 * margin()) / columns, cloud.height / cells];
    shade.forEach((column, c) => {
      column.forEach((density, r) => {
        context.globalAlpha = Math.min(0.5, 0.9 * Math.sqrt(density) * 0.6);
        context.fillRect(margin() + c * width, r * height, width + 0.6, height + 0.6);
      });
    });
    context.globalAlpha = 1;
  }
  function drawCloud() {
    const context = cleared(cloud, colours.panel);
    const { rows } = runs[way];
    const y = (z) => ((reach() - Math.max(-reach(), Math.min(reach(), z))) / (2 * reach())) * cloud.height;
    shadeColumns(context);
    context.strokeStyle = colours.muted;
    context.globalAlpha = 0.3;
    context.lineWidth = devicePixelRatio;
    for (let i = 0; i < Math.min(n, 30); i++) {
      context.beginPath();
      for (let j = 0; j <= k; j++) context.lineTo(across(j), y(rows[j].x[i]));
      context.stroke();
    }
    const { x, logWeights } = rows[k];
    const { shares } = weigh(logWeights ?? new Float64Array(n));
    context.fillStyle = colours.model;
    context.globalAlpha = 0.55;
    for (let i = 0; i < n; i++) {
      context.beginPath();
      const radius = Math.max(0.4, 2.6 * Math.sqrt(n * shares[i])) * devicePixelRatio;
      const aside = (((i * 37) % 19) - 9) * 0.7 * devicePixelRatio; // so that they do not hide each other
      context.arc(across(k) + aside, y(x[i]), Math.min(radius, cloud.height / 4), 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
    context.fillStyle = colours.muted;
    context.textAlign = "left";
    for (const side of [1, -1])
      context.fillText(`${side < 0 ? "−" : ""}${setting.m}`, 3 * devicePixelRatio, y(side * setting.m) + 4);
  }
  function drawCourse() {
    const { found } = runs[way];
    const plot = scales(course, MARGINS, [0, calls], [0.4, 1], { held: "y" });
    const band = (side) => found.slice(0, k + 1).map(({ share, error }, j) => [j, share + side * error]);
    const ink = `dpm-ink-${WAYS[way].ink}`;
    renew(
      course,
      plot.axis(),
      ...plot.rows([0.4, 0.6, 0.8, 1], (v) => v.toFixed(1)),
      ...plot.marks([0, calls / 2, calls]),
      svg("polygon", {
        class: `dpm-layer dpm-faint ${ink}`,
        points: [...band(1), ...band(-1).reverse()].map((pair) => plot.place(pair).join(",")).join(" "),
      }),
      plot.across(truth.share, "dpm-limit-line"),
      plot.curve(`dpm-law ${ink}`, band(0)),
    );
  }
  function drawAll() {
    const rows = Object.entries(WAYS);
    const margins = { ...MARGINS, left: 12 };
    const plot = scales(all, margins, [0.4, 1], [rows.length, 0], { held: "x" });
    renew(
      all,
      line(plot.left, plot.floor, plot.end, plot.floor, "dpm-axis"),
      ...plot.marks([0.4, 0.6, 0.8, 1], (v) => v.toFixed(1)),
      plot.upright(truth.share, "dpm-limit-line"),
      ...rows.flatMap(([name, { words, ink }], i) => {
        const { share, error } = runs[name].found.at(-1);
        const y = plot.y(i + 0.78);
        return [
          text(plot.left, plot.y(i + 0.42), words, "start", name === way ? "dpm-chosen" : null),
          svg(
            "g",
            { class: `dpm-estimate dpm-ink-${ink}` },
            line(plot.x(share - error), y, plot.x(share + error), y),
            svg("circle", { cx: plot.x(share), cy: y, r: 4 }),
          ),
        ];
      }),
    );
  }
  figure.draw = () => {
    if (!cloud.width || runs?.[way].rows.length !== calls + 1) return; // ways of so many calls are not there yet
    drawCloud();
    drawCourse();
    drawAll();
    const { share, error, spread, size } = runs[way].found[k];
    const { t, b } = runs[way].rows[k];
    const where = b === undefined ? `noise t = ${short(t)}` : `inverse temperature ${b.toFixed(2)}`;
    const { words } = WAYS[way];
    detail.textContent =
      `${words[0].toUpperCase()}${words.slice(1)}, ${k} of ${calls} calls, ${where}. Share of the right mode ${share.toFixed(2)} ± ` +
      `${error.toFixed(2)}; exact, at the end, ${truth.share.toFixed(2)}. Variance about the nearer mode ${fixed(spread, 2)}, exact ` +
      `${fixed(truth.spread, 2)}. Effective ${size.toFixed(0)} of ${n} particles. Run no. ${seed}.`;
    Object.assign(root.dataset, { k, calls, way, seed, share, error, spread, size, exact: truth.share, t });
  };

  function goTo(next) {
    k = next;
    time.set(k);
    figure.redraw();
  }
  const time = figure.slider({
    wide: true,
    label: "After call",
    min: 0,
    max: calls,
    value: calls,
    format: (value) => `${value} of ${calls}`,
    set: (value) => {
      k = value;
      position = k / calls;
    },
  });
  const play = figure.playButton((seconds) => {
    if (k === calls && position >= 1) position = 0;
    position = Math.min(1, position + seconds / (isCalm() ? 12 : 6));
    const next = Math.round(position * calls);
    if (position >= 1) play.set(false);
    if (next !== k) goTo(next);
  });
  const step = button("Step", () => {
    play.set(false);
    goTo(k < calls ? k + 1 : 0);
    position = k / calls;
  });
  const chosen = figure.chooser({
    label: "Way",
    options: Object.entries(WAYS).map(([name, { words }]) => [name, words]),
    value: way,
    set: (next) => {
      way = next;
      shade = null;
      only();
    },
  });
  const number = figure.slider({
    label: "Calls",
    min: 0,
    max: CALLS.length - 1,
    value: CALLS.indexOf(calls),
    format: (value) => String(CALLS[value]),
    set: (value) => {
      const share = k / calls;
      calls = CALLS[value];
      k = Math.round(share * calls);
      time.range.max = calls;
      time.set(k);
    },
    after: run,
  });
  const ratio = figure.slider({
    label: "Langevin step over t",
    min: 0.1,
    max: 2,
    step: 0.1,
    value: setting.ratio,
    format: (value) => value.toFixed(1),
    set: (value) => (setting.ratio = value),
    after: run,
  });
  const level = figure.slider({
    label: "The one level t",
    min: Math.log10(setting.bottom),
    max: Math.log10(setting.top),
    step: 0.1,
    value: Math.log10(setting.level),
    format: (value) => short(10 ** value),
    set: (value) => (setting.level = 10 ** value),
    after: run,
  });
  const again = button("New run", () => (seed += 1), run);
  const knobs = controls();
  /** Only what moves something is there to be moved. */
  const only = () => {
    const langevin = ["one", "annealed", "weighted"].includes(way);
    knobs.replaceChildren(...(langevin ? [ratio.node] : []), ...(way === "one" ? [level.node] : []));
  };
  figure.add(
    controls(chosen, number, again),
    html("div", { class: "dpm-live" }, cloud),
    controls(play, step, time),
    knobs,
    html(
      "div",
      { class: "dpm-two" },
      html("div", {}, title("Share of the right mode", " over the calls; dashed: exact"), course),
      html("div", {}, title("All ways, at the end", " with the same calls"), all),
    ),
    keys({ drift: "shaded: the density that the particles are after", model: "particles; area is weight" }),
    detail,
  );
  only();
  run();
  return figure.close;
}

export default live(render);
