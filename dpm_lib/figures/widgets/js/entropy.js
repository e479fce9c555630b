// The entropy of each reverse step between its bounds, for data of any variance. Nats inside, bits on the page.
// Twins: dpm_lib.exact.entropy_bounds.step_bounds and reverse_entropies.

import { clamp, controls, html, keys, openFigure, renew, svg, title } from "./common.js";
import { fixed, inBits, joined, keySteps, openPlot, scales, sharesAt } from "./plot.js";
import { live } from "./view.js";

/** beta_1..beta_T of a named schedule: "geometric" is even in log tau from beta_1 = 0.001 to tau = 50. */
export function schedule(name, T) {
  if (name === "constant fraction") return Array.from({ length: T }, (_, i) => Math.min(1 - 1e-3, 1 / (T - i)));
  const [first, last] = [Math.log(0.001 / 0.999), Math.log(50)];
  const tau = Array.from({ length: T }, (_, i) => Math.exp(first + ((last - first) * i) / (T - 1)));
  return tau.map((value, i) => (i ? 1 - (1 + tau[i - 1]) / (1 + value) : value / (1 + value)));
}

/** `values` on an even grid, at x; constant beyond its ends. */
export function interpolate(grid, values, x) {
  const place = clamp((x - grid[0]) / (grid[1] - grid[0]), 0, grid.length - 1);
  const i = Math.min(Math.floor(place), grid.length - 2);
  return values[i] + (place - i) * (values[i + 1] - values[i]);
}

/**
 * Rows t = 1..T of { t, step, lower, printed, upper, exact }: entropies of dimension `dim`, nats, of data
 * sqrt(variance) y. `short` (on `grid`, in log tau) is H(y + sqrt(tau) noise) - (dim/2) log(2 pi e (1 + tau)), E|y|^2 = dim.
 */
export function entropyRows(beta, { grid, short, dim }, variance) {
  const half = 0.5 * dim;
  const unit = Math.log(2 * Math.PI * Math.E);
  const rows = [];
  let kept = 1;
  const entropy = (alphaBar) => {
    const tau = (1 / alphaBar - 1) / variance;
    const rest = alphaBar === 1 ? interpolate(grid, short, -1e9) : interpolate(grid, short, Math.log(tau));
    return half * (unit + Math.log(alphaBar * variance * (1 + tau))) + rest;
  };
  beta.forEach((b, i) => {
    const next = kept * (1 - b);
    const step = half * (unit + Math.log(b));
    rows.push({
      t: i + 1,
      step,
      printed: step,
      lower: step + half * Math.log((1 - kept) / (1 - next)),
      upper: step + half * (kept - next) * (variance - 1),
      exact: step + entropy(kept) - entropy(next),
    });
    kept = next;
  });
  return rows;
}

function render({ model, el }) {
  const figure = openFigure(model, el, "entropy");
  const tables = model.get("tables");
  let name = Object.keys(tables)[0];
  let [variance, T] = [model.get("variance"), model.get("T")];
  let kind = "geometric";
  let relative = true;
  let chosen = 2;

  const band = openPlot(figure, "dpm-band", "Step t", "slider");
  band.setAttribute("tabindex", 0);
  const detail = html("p", { class: "dpm-detail" });
  const sums = html("p", { class: "dpm-detail dpm-now", role: "status" });
  const MARGINS = { left: 44, right: 10, top: 10, bottom: 22, gap: 6, foot: 5 };

  figure.draw = () => {
    const rows = entropyRows(schedule(kind, T), tables[name], variance).slice(1);
    const lift = (row, key) => inBits(row[key] - (relative ? row.step : 0));
    const all = rows.flatMap((row) => ["lower", "printed", "upper", "exact"].map((key) => lift(row, key)));
    const high = Math.max(...all, 0.05);
    const low = Math.max(Math.min(...all), high - (relative ? 8 : 40));
    const pad = 0.06 * (high - low);
    const plot = scales(band, MARGINS, [1.5, T + 0.5], [low - pad, high + pad], { held: "y" });
    const path = (key) => rows.map((row) => [row.t, lift(row, key)]);
    const unit = 10 ** Math.floor(Math.log10(high - low));
    const every = [0.2, 0.5, 1, 2, 5].find((m) => (high - low) / (m * unit) <= 6) * unit;
    const ticks = [];
    for (let v = Math.ceil((low - pad) / every) * every; v <= high + pad; v += every) ticks.push(v);
    const jump = [1, 2, 5, 10, 20].find((m) => T / m <= 10) ?? T;
    const over = rows.filter((row) => row.exact > row.printed + 1e-9);
    const radius = T > 40 ? 2.5 : 4;
    chosen = clamp(chosen, 2, T);
    const now = rows[chosen - 2];
    const times = rows.map(({ t }) => t).filter((t) => t === 2 || t % jump === 0);
    const dashed = plot.curve("dpm-law dpm-ink-drift", path("upper"));
    dashed.setAttribute("stroke-dasharray", "6 4");
    const here = plot.upright(chosen);
    here.setAttribute("opacity", 0.4);
    renew(
      band,
      ...plot.rows(ticks, (v) => fixed(v, every < 0.1 ? 2 : every < 1 ? 1 : 0)),
      ...plot.marks(times, (t) => (t === 2 ? "t = 2" : t)),
      svg("polygon", {
        points: joined([...path("lower"), ...path("upper").reverse()].map(plot.place)),
        class: "dpm-between",
      }),
      dashed,
      plot.curve("dpm-law dpm-ink-limit", path("printed")),
      plot.curve("dpm-law dpm-ink-data", path("lower")),
      here,
      ...rows.map((row) => {
        const kind = over.includes(row) ? "dpm-exact-dot dpm-outside" : "dpm-exact-dot";
        return plot.dot(kind, row.t, lift(row, "exact"), row.t === chosen ? radius + 2 : radius);
      }),
    );
    const one = `t = ${chosen}: lower ${fixed(inBits(now.lower), 2)}, exact ${fixed(inBits(now.exact), 2)}, printed upper ${fixed(inBits(now.printed), 2)}, repaired upper ${fixed(inBits(now.upper), 2)} bits.`;
    band.setAttribute("aria-valuemin", 2);
    band.setAttribute("aria-valuemax", T);
    band.setAttribute("aria-valuenow", chosen);
    band.setAttribute("aria-valuetext", one);
    detail.textContent = over.length
      ? `${one} The printed bound fails at ${over.length} of ${rows.length} steps.`
      : `${one} The printed bound holds at all ${rows.length} steps.`;
    const add = (key) => inBits(rows.reduce((sum, row) => sum + row[key], 0));
    sums.textContent =
      `Summed over t = 2 to ${T}: lower ${fixed(add("lower"), 2)}, exact ${fixed(add("exact"), 2)}, printed upper ${fixed(add("printed"), 2)} bits. ` +
      `The data enter the exact sum by H(X₁) − H(X_T) = ${fixed(add("exact") - add("step"), 2)} bits, and the other two not at all.`.replace(
        "X_T",
        "X at T",
      );
    Object.assign(figure.root.dataset, { outside: over.length, exact: add("exact"), chosen });
  };

  const choose = (t) => {
    chosen = clamp(t, 2, T);
    figure.redraw();
  };
  figure.keep(
    "step",
    () => chosen,
    (t) => choose(Math.round(t)),
  );
  const point = (event) => choose(Math.round(1.5 + sharesAt(event, band, MARGINS).x * (T - 1)));
  band.addEventListener("pointermove", point);
  band.addEventListener("pointerdown", point);
  band.addEventListener("keydown", (event) => {
    const by = keySteps(1, 0, Infinity)[event.key];
    if (by === undefined) return;
    event.preventDefault();
    choose(chosen + by);
  });

  const data = figure.chooser({ label: "Data", options: Object.keys(tables), value: name, set: (v) => (name = v) });
  const spread = figure.slider({
    label: "Variance of the data",
    min: -1,
    max: 1,
    step: 0.02,
    value: Math.log10(variance),
    format: (v) => (10 ** v).toPrecision(3),
    set: (v) => (variance = 10 ** v),
  });
  const number = figure.slider({ label: "Steps T", min: 3, max: 60, value: T, set: (v) => (T = v) });
  const rates = figure.chooser({
    label: "Schedule",
    options: [
      ["geometric", "even in log τ"],
      ["constant fraction", "1/(T − t + 1)"],
    ],
    value: kind,
    set: (v) => (kind = v),
  });
  const less = figure.checkbox({
    label: "less the forward step's entropy",
    checked: relative,
    set: (v) => (relative = v),
  });
  const legend = keys({
    limit: "upper bound as printed: the forward step's entropy",
    drift: "upper bound, repaired",
    data: "lower bound",
    model: "exact",
  });
  legend.className = "dpm-keys";
  figure.add(
    controls(data, spread, number, rates, less),
    title("H(x at t−1, given x at t), ", "bits"),
    band,
    legend,
    detail,
    sums,
  );
  figure.onChange("tables variance T", figure.redraw);
  figure.redraw();
  return figure.close;
}

export default live(render);
