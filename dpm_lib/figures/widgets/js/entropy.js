// The entropy of each reverse step between its bounds, for data of any variance. Nats inside, bits on the page.
// Twins: dpm_lib.entropy.step_bounds and reverse_entropies.

import { clamp, controls, html, openFigure, svg, title } from "./common.js";

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

const bits = (nats) => nats / Math.LN2;
const fixed = (value, digits = 2) =>
  value
    .toFixed(digits)
    .replace("-", "−")
    .replace(/^−(0\.0+)$/, "$1");

function render({ model, el }) {
  const figure = openFigure(model, el, "entropy");
  const tables = model.get("tables");
  let [name, variance, T, kind, relative] = [
    Object.keys(tables)[0],
    model.get("variance"),
    model.get("T"),
    "geometric",
    true,
  ];
  let chosen = 2;

  const plot = svg("svg", { class: "dpm-plot dpm-band", role: "slider", tabindex: 0, "aria-label": "Step t" });
  const detail = html("p", { class: "dpm-detail" });
  const sums = html("p", { class: "dpm-detail dpm-now", role: "status" });
  const keys = html(
    "div",
    { class: "dpm-keys" },
    ...[
      ["printed", "limit", "upper bound as printed: the forward step's entropy"],
      ["repaired", "drift", "upper bound, repaired"],
      ["lower", "data", "lower bound"],
      ["exact", "model", "exact"],
    ].map(([, ink, words]) => html("span", { class: `dpm-ink-${ink}` }, words)),
  );

  const [LEFT, RIGHT, TOP, BOTTOM] = [44, 10, 10, 22];
  const text = (x, y, words, anchor = "end") => svg("text", { x, y, "text-anchor": anchor }, words);

  figure.draw = () => {
    const rows = entropyRows(schedule(kind, T), tables[name], variance).slice(1);
    const lift = (row, key) => bits(row[key] - (relative ? row.step : 0));
    const [width, height] = [plot.clientWidth || 600, plot.clientHeight || 220];
    const all = rows.flatMap((row) => ["lower", "printed", "upper", "exact"].map((key) => lift(row, key)));
    const high = Math.max(...all, 0.05);
    const low = Math.max(Math.min(...all), high - (relative ? 8 : 40));
    const pad = 0.06 * (high - low);
    const y = (v) =>
      TOP + ((high + pad - clamp(v, low - pad, high + pad)) / (high - low + 2 * pad)) * (height - TOP - BOTTOM);
    const x = (t) => LEFT + ((t - 1.5) / (T - 1)) * (width - LEFT - RIGHT);
    const path = (key) => rows.map((row) => `${x(row.t)},${y(lift(row, key))}`).join(" ");
    const unit = 10 ** Math.floor(Math.log10(high - low));
    const every = [0.2, 0.5, 1, 2, 5].find((m) => (high - low) / (m * unit) <= 6) * unit;
    const ticks = [];
    for (let v = Math.ceil((low - pad) / every) * every; v <= high + pad; v += every) ticks.push(v);
    const jump = [1, 2, 5, 10, 20].find((m) => T / m <= 10) ?? T;
    const over = rows.filter((row) => row.exact > row.printed + 1e-9);
    const radius = T > 40 ? 2.5 : 4;
    chosen = clamp(chosen, 2, T);
    const now = rows[chosen - 2];
    plot.replaceChildren(
      ...ticks.flatMap((v) => [
        svg("line", { x1: LEFT, x2: width - RIGHT, y1: y(v), y2: y(v), class: "dpm-grid" }),
        text(LEFT - 6, y(v) + 4, fixed(v, every < 0.1 ? 2 : every < 1 ? 1 : 0)),
      ]),
      ...rows
        .filter(({ t }) => t === 2 || t % jump === 0)
        .map(({ t }) => text(x(t), height - 5, t === 2 ? "t = 2" : t, "middle")),
      svg("polygon", {
        points: `${path("lower")} ${rows
          .slice()
          .reverse()
          .map((row) => `${x(row.t)},${y(lift(row, "upper"))}`)
          .join(" ")}`,
        class: "dpm-between",
      }),
      svg("polyline", { points: path("upper"), class: "dpm-law dpm-ink-drift", "stroke-dasharray": "6 4" }),
      svg("polyline", { points: path("printed"), class: "dpm-law dpm-ink-limit" }),
      svg("polyline", { points: path("lower"), class: "dpm-law dpm-ink-data" }),
      svg("line", { x1: x(chosen), x2: x(chosen), y1: TOP, y2: height - BOTTOM, class: "dpm-axis", opacity: 0.4 }),
      ...rows.map((row) =>
        svg("circle", {
          cx: x(row.t),
          cy: y(lift(row, "exact")),
          r: row.t === chosen ? radius + 2 : radius,
          class: row.exact > row.printed + 1e-9 ? "dpm-exact-dot dpm-outside" : "dpm-exact-dot",
        }),
      ),
    );
    const one = `t = ${chosen}: lower ${fixed(bits(now.lower))}, exact ${fixed(bits(now.exact))}, printed upper ${fixed(bits(now.printed))}, repaired upper ${fixed(bits(now.upper))} bits.`;
    plot.setAttribute("aria-valuemin", 2);
    plot.setAttribute("aria-valuemax", T);
    plot.setAttribute("aria-valuenow", chosen);
    plot.setAttribute("aria-valuetext", one);
    detail.textContent = over.length
      ? `${one} The printed bound fails at ${over.length} of ${rows.length} steps.`
      : `${one} The printed bound holds at all ${rows.length} steps.`;
    const add = (key) => bits(rows.reduce((sum, row) => sum + row[key], 0));
    sums.textContent =
      `Summed over t = 2 to ${T}: lower ${fixed(add("lower"))}, exact ${fixed(add("exact"))}, printed upper ${fixed(add("printed"))} bits. ` +
      `The data enter the exact sum by H(X₁) − H(X_T) = ${fixed(add("exact") - add("step"))} bits, and the other two not at all.`.replace(
        "X_T",
        "X at T",
      );
    figure.root.dataset.outside = over.length;
    figure.root.dataset.exact = add("exact");
    figure.root.dataset.chosen = chosen;
  };

  const choose = (t) => {
    chosen = clamp(t, 2, T);
    figure.redraw();
  };
  const point = (event) => {
    const box = plot.getBoundingClientRect();
    choose(Math.round(1.5 + ((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * (T - 1)));
  };
  plot.addEventListener("pointermove", point);
  plot.addEventListener("pointerdown", point);
  plot.addEventListener("keydown", (event) => {
    const next = {
      ArrowRight: chosen + 1,
      ArrowUp: chosen + 1,
      ArrowLeft: chosen - 1,
      ArrowDown: chosen - 1,
      Home: 2,
      End: T,
    }[event.key];
    if (next === undefined) return;
    event.preventDefault();
    choose(next);
  });

  const data = figure.chooser({ label: "Data", options: Object.keys(tables), value: name, set: (v) => (name = v) });
  const spread = figure.slider({
    label: "Variance of the data",
    min: -1,
    max: 1,
    step: 0.02,
    value: Math.log10(variance),
    format: (v) => (10 ** v).toFixed(2),
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
  figure.add(
    controls(data, spread, number, rates, less),
    title("H(x at t−1, given x at t), ", "bits"),
    plot,
    keys,
    detail,
    sums,
  );
  figure.onResize(plot);
  figure.onChange("tables variance T", figure.redraw);
  figure.redraw();
  return figure.close;
}

export default { render };
