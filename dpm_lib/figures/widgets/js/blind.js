// Two far modes: what the Fisher divergence and the KL divergence see of their shares, at every level of noise.

import { clamp, controls, draggable, html, keys, openFigure, renew, svg, title } from "./common.js";
import { integralsToEnd } from "./immse.js";
import { lineDensity, lineScore } from "./mixture.js";
import {
  circle,
  evenly,
  fixed,
  handle,
  keySteps,
  minus,
  moveHandle,
  openPlot,
  power,
  scales,
  sharesAt,
  short,
} from "./plot.js";
import { live } from "./view.js";

// --- Numbers. Modes at -m and m, each N(., variance); data with the share w on the right, a model with the share v. ---

/** The law with this share, as `mixture.js` takes it. */
export const twoModes = (share, { m, variance }) => ({ centers: [-m, m], weights: [1 - share, share], variance });

const logSum = (a, b) => Math.max(a, b) + Math.log1p(Math.exp(-Math.abs(a - b)));

/**
 * At noise t: the Fisher divergence E_w |s_w - s_v|^2, its bound, and KL(w || v) in nats. The scores differ by
 * (2m / u) (w - v) N_+ N_- / (p_w p_v), u = variance + t: nothing is subtracted, so 1e-200 is as exact as 1.
 */
export function divergences({ m, variance }, w, v, t) {
  const u = variance + t;
  const step = Math.min(0.1 * Math.sqrt(u), (0.4 * u) / m); // the shares given z turn over a width of u / m
  const reach = 9 * Math.sqrt(u) + m;
  const half = Math.ceil(reach / step);
  const log0 = -0.5 * Math.log(2 * Math.PI * u);
  let fisher = 0;
  let kl = 0;
  for (let i = -half; i <= half; i++) {
    const z = (reach * i) / half;
    const [right, left] = [log0 - (z - m) ** 2 / (2 * u), log0 - (z + m) ** 2 / (2 * u)];
    const data = logSum(Math.log(w) + right, Math.log1p(-w) + left);
    const model = logSum(Math.log(v) + right, Math.log1p(-v) + left);
    fisher += Math.exp(2 * (right + left) - data - 2 * model);
    kl += Math.exp(data) * (data - model) - Math.exp(data) + Math.exp(model); // each term is positive
  }
  const width = reach / half;
  const scale = ((2 * m * (w - v)) / u) ** 2;
  return { fisher: scale * fisher * width, kl: kl * width, bound: fisherBound({ m, variance }, w, v, t) };
}

/** m^2 (w - v)^2 exp(-m^2 / 2u) / (2 u^2 sqrt(w (1 - w)) v (1 - v)): never below the Fisher divergence. */
export function fisherBound({ m, variance }, w, v, t) {
  const u = variance + t;
  const shares = Math.sqrt(w * (1 - w)) * v * (1 - v);
  return ((m * (w - v)) ** 2 * Math.exp((-m * m) / (2 * u))) / (2 * u * u * shares);
}

/** Levels t = 10^low ... 10^high, the three numbers at each, and half the area of the Fisher divergence beyond it. */
export function blindTable(modes, w, v, low, high, perDecade) {
  const t = evenly(low, high, (high - low) * perDecade).map((k) => 10 ** k);
  const rows = t.map((level) => divergences(modes, w, v, level));
  const slope = rows.map(({ fisher }, i) => 0.5 * t[i] * fisher); // per unit of log t
  const beyond = (2 * (modes.m * (w - v)) ** 2) / (t.at(-1) + modes.variance);
  const area = Array.from(integralsToEnd(slope, Math.LN10 / perDecade), (value) => value + beyond);
  return { t, rows, area };
}

// --- The figure. ---

const LOW = -2;
const HIGH = 3;
const BEYOND = 5; // up to where the area is summed
const PER_DECADE = 20;
const FLOOR = -30; // the lowest power of ten that is drawn
const MARGINS = { left: 44, right: 14, top: 10, bottom: 22, gap: 6, foot: 5 };
const STRIP = { left: 44, right: 14, top: 8, bottom: 30, foot: 5 };

/** A number in words, with a power of ten where it is small. */
const small = (value) => {
  if (value >= 0.001 || value === 0) return short(value, 3);
  const k = Math.floor(Math.log10(value));
  return `${short(value / 10 ** k, 2)}·${power(k)}`;
};

function render({ model, el }) {
  const figure = openFigure(model, el, "blind");
  const { root } = figure;
  const modes = { m: model.get("m"), variance: model.get("variance") };
  const shares = { data: model.get("share"), model: model.get("guess") };
  let place = Math.round((Math.log10(model.get("t")) - LOW) * PER_DECADE);
  let found = null;

  const strip = openPlot(figure, "dpm-strip", "The share of the right mode, in the data and in the model", "group");
  const laws = openPlot(figure, "dpm-laws", "Densities of data and model at this noise");
  const fields = openPlot(figure, "dpm-fields", "Scores of data and model at this noise, where there are points");
  const curves = openPlot(figure, "dpm-blindness", "Fisher divergence, its bound and KL divergence over the noise t");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const backdrop = svg("g");

  const handles = Object.keys(shares).map((name) => {
    const words = { data: "Share w of the right mode in the data", model: "Share w′ of the right mode in the model" };
    const options = { label: words[name], min: 0.01, max: 0.99, orientation: "horizontal" };
    const node = handle({ ...options, kind: `dpm-sideways dpm-ink-${name}` }, circle("dpm-dot", 0, 0, 7));
    const set = (value) => {
      shares[name] = Math.round(100 * clamp(value, 0.01, 0.99)) / 100;
      found = null;
      figure.redraw();
    };
    draggable(node, {
      keys: keySteps(0.01, 0.1, 1),
      step: (by) => set(shares[name] + by),
      drag: (event) => set(sharesAt(event, strip, STRIP).x),
    });
    return [name, node];
  });
  strip.append(backdrop, ...handles.map(([, node]) => node));
  figure.keep(
    "shares",
    () => [shares.data, shares.model],
    (values) => {
      [shares.data, shares.model] = values.map((v) => clamp(v, 0.01, 0.99));
      found = null;
    },
  );

  function drawStrip() {
    const plot = scales(strip, STRIP, [0, 1], [0, 1]);
    renew(backdrop, plot.axis(), ...plot.marks([0, 0.25, 0.5, 0.75, 1]));
    for (const [name, node] of handles) {
      const y = plot.floor - (name === "data" ? 16 : 0);
      moveHandle(node, plot.x(shares[name]), y, shares[name], shares[name].toFixed(2));
    }
  }
  function drawLaws(t) {
    const u = modes.variance + t;
    const reach = modes.m + 3.5 * Math.sqrt(u);
    const spots = evenly(-reach, reach, 400);
    const both = [twoModes(shares.data, modes), twoModes(shares.model, modes)];
    const [p, q] = both.map((law) => spots.map((z) => lineDensity(z, t, law)));
    const plot = scales(laws, MARGINS, [-reach, reach], [0, 1.1 * Math.max(...p, ...q)]);
    const marks = [-modes.m, 0, modes.m];
    renew(
      laws,
      plot.axis(),
      ...plot.marks(marks),
      plot.curve("dpm-law dpm-ink-data", spots, (z, i) => [z, p[i]]),
      plot.curve("dpm-law dpm-ink-model dpm-dashed", spots, (z, i) => [z, q[i]]),
    );
    const [s, r] = both.map((law) => spots.map((z) => lineScore(z, t, law)));
    const top = 1.1 * Math.max(...s.map(Math.abs), ...r.map(Math.abs));
    const field = scales(fields, MARGINS, [-reach, reach], [-top, top]);
    renew(
      fields,
      field.across(0, "dpm-axis"),
      ...field.marks(marks),
      ...field.rows([-0.8 * top, 0.8 * top], (v) => short(v)),
      field.curve("dpm-law dpm-ink-data", spots, (z, i) => [z, s[i]]),
      field.curve("dpm-law dpm-ink-model dpm-dashed", spots, (z, i) => [z, r[i]]),
    );
  }
  function drawCurves() {
    const plot = scales(curves, MARGINS, [LOW, HIGH], [FLOOR, 1.5], { held: "y" });
    const log = (v) => (v > 0 ? Math.log10(v) : -400);
    const at = (i) => LOW + i / PER_DECADE;
    const decades = evenly(LOW, HIGH, HIGH - LOW);
    const shown = found.rows.slice(0, (HIGH - LOW) * PER_DECADE + 1);
    const show = (kind, name) => plot.curve(kind, shown, (row, i) => [at(i), log(row[name])]);
    renew(
      curves,
      ...decades.map((k) => plot.upright(k, "dpm-grid")),
      ...plot.marks(decades, (k) => (k === HIGH ? "t" : power(k))),
      ...plot.rows([0, -10, -20, FLOOR], power, (v) => (v === FLOOR ? "dpm-axis" : "dpm-grid")),
      show("dpm-law dpm-ink-muted dpm-dashed", "bound"),
      show("dpm-law dpm-ink-limit", "fisher"),
      show("dpm-law dpm-ink-drift", "kl"),
      plot.upright(at(place), "dpm-cut"),
    );
  }
  figure.draw = () => {
    found ??= blindTable(modes, shares.data, shares.model, LOW, BEYOND, PER_DECADE);
    const t = found.t[place];
    const { fisher, kl, bound } = found.rows[place];
    drawStrip();
    drawLaws(t);
    drawCurves();
    detail.textContent =
      `At t = ${short(t)}, w = ${shares.data.toFixed(2)} and w′ = ${shares.model.toFixed(2)}: Fisher divergence ` +
      `${small(fisher)}, at most ${small(bound)}; KL ${fixed(kl)} nats. Half the area of the Fisher divergence over all ` +
      `noise beyond t: ${fixed(found.area[place])} nats.`;
    Object.assign(root.dataset, { t, fisher, kl, bound, area: found.area[place], w: shares.data, v: shares.model });
  };

  const noise = figure.slider({
    label: "Noise t",
    min: 0,
    max: (HIGH - LOW) * PER_DECADE,
    value: place,
    format: (i) => short(10 ** (LOW + i / PER_DECADE)),
    set: (next) => (place = next),
    wide: true,
  });
  const apart = figure.slider({
    label: "Modes at ±m, m",
    min: 1,
    max: 5,
    step: 0.25,
    value: modes.m,
    format: (v) => minus(v),
    set: (next) => {
      modes.m = next;
      found = null;
    },
  });
  figure.add(
    controls(noise, apart),
    title("Share of the right mode", " drag: above the axis w, of the data; on it w′, of the model"),
    strip,
    html(
      "div",
      { class: "dpm-two" },
      html("div", {}, title("Densities"), laws),
      html("div", {}, title("Scores", " grad log of the density"), fields),
    ),
    keys({ data: "data, share w", model: "model, share w′ (dashed)" }),
    title("What sees the wrong share", " over the noise t"),
    curves,
    keys({ limit: "Fisher divergence", muted: "its bound (dashed)", drift: "KL, nats" }),
    detail,
  );
  return figure.close;
}

export default live(render);
