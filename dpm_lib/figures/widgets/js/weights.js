// Objectives as weights of one squared error: where along log tau the loss of two of them stands.

import { controls, html, keys, numbers, openFigure, renew, svg, title } from "./common.js";
import { evenly, fixed, joined, openPlot, power, scales, short } from "./plot.js";
import { live } from "./view.js";

// --- Numbers: those of dpm_lib's `diffusion.loss_weights`. x is log tau. ---

const snr = (x) => Math.exp(-x);
const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const even = () => 1;
const cosine = (x) => 1 / (2 * Math.PI * Math.cosh(x / 2));
const normal = (x) => Math.exp(-0.5 * ((x + 2.4) / 2.4) ** 2) / (2.4 * Math.sqrt(2 * Math.PI));
const straight = (x) => 0.5 * sigmoid(x / 2) * sigmoid(-x / 2);
function linear(x) {
  const total = x > 30 ? x : Math.log1p(Math.exp(x)); // -log alpha_bar
  return total > 10.05 ? 0 : sigmoid(x) / Math.sqrt(0.01 + 2 * 19.9 * total);
}

/** Each objective's weight of |x₀ − x̂₀|² and density of times, and both in words. */
export const OBJECTIVES = {
  bound: { weight: (x) => snr(x) / 2, density: even, words: "the bound K: SNR / 2, all levels alike" },
  VDM: { weight: (x) => snr(x) / 2, density: even, words: "VDM: the bound again" },
  simple: { weight: snr, density: linear, words: "simple (DDPM): SNR, even in t, linear β" },
  hybrid: { weight: snr, density: cosine, words: "hybrid (iDDPM): SNR, even in t, cosine" },
  NCSN: { weight: snr, density: even, words: "NCSN: SNR, even in log τ" },
  v: { weight: (x) => 1 + snr(x), density: cosine, words: "v: 1 + SNR, even in t, cosine" },
  EDM: { weight: (x) => 1 + snr(x), density: normal, words: "EDM: 1 + SNR, normal in log τ" },
  "min-SNR": { weight: (x) => Math.min(snr(x), 5), density: cosine, words: "min-SNR: min(SNR, 5), even in t, cosine" },
  "flow matching": {
    weight: (x) => (1 + snr(x / 2)) ** 2,
    density: straight,
    words: "flow matching: (1 + √SNR)², even in t, straight path",
  },
};

export const counts = (name, x) => OBJECTIVES[name].weight(x) * OBJECTIVES[name].density(x);

/** The share over that of the bound. */
export const overBound = (name, x) => 2 * counts(name, x) * Math.exp(x);

/** The running integral of `values` over `levels`, by trapezoids: as many numbers, 0 first. */
export function running(levels, values) {
  const sums = [0];
  for (let i = 1; i < levels.length; i++)
    sums.push(sums[i - 1] + 0.5 * (values[i] + values[i - 1]) * (levels[i] - levels[i - 1]));
  return sums;
}

/** The density of an objective's loss over `levels`: share times error, of area 1. */
export function lossDensity(name, levels, error) {
  const raw = Array.from(levels, (x, i) => counts(name, x) * error[i]);
  const area = running(levels, raw).at(-1);
  return raw.map((v) => v / area);
}

/** Where the line through (levels, values), which rise, reaches `v`; and its height at x. */
export function reached(levels, values, v) {
  const found = values.findIndex((w) => w >= v);
  const i = found < 0 ? levels.length - 1 : Math.max(1, found);
  const share = (v - values[i - 1]) / (values[i] - values[i - 1] || 1);
  return levels[i - 1] + share * (levels[i] - levels[i - 1]);
}
export const heightAt = (levels, values, x) => reached(values, levels, x);

/** What two densities have in common: the area below both. */
export const common = (levels, a, b) =>
  running(
    levels,
    a.map((v, i) => Math.min(v, b[i])),
  ).at(-1);

/** Where the share over the bound falls first, as log tau; null where it rises or stays all along. */
export function fallsAt(name, levels) {
  for (let i = 1; i < levels.length; i++)
    if (overBound(name, levels[i]) < overBound(name, levels[i - 1]) * (1 - 1e-9)) return levels[i - 1];
  return null;
}

// --- The figure. ---

const MARGINS = { left: 44, right: 14, top: 10, bottom: 22, gap: 6, foot: 5 };
const INKS = { first: "data", second: "model" };
const STEPS = 100; // of the cut

function render({ model, el }) {
  const figure = openFigure(model, el, "weights");
  const { root } = figure;
  const [levels, error] = ["log_tau", "error"].map((name) => Array.from(numbers(model.get(name), Float64Array)));
  const dim = model.get("dim");
  const [low, high] = [levels[0], levels.at(-1)];
  const chosen = { first: model.get("first"), second: model.get("second") };
  let place = Math.round((STEPS * (model.get("cut") - low)) / (high - low));
  const cutAt = () => low + ((high - low) * place) / STEPS;
  const tau = (x) => short(Math.exp(x));

  const areas = openPlot(figure, "dpm-by-level", "Densities of two losses over log tau, each of area one");
  const ratios = openPlot(figure, "dpm-ratios", "Their weights over the bound's, over log tau");
  const errors = openPlot(figure, "dpm-ratios", "The network's squared error over log tau");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const [lowest, highest] = [Math.ceil(low / Math.LN10), Math.floor(high / Math.LN10)]; // decades of tau
  const decades = evenly(lowest, highest, Math.max(1, highest - lowest));
  const axes = (plot) => [
    ...decades.map((k) => plot.upright(k * Math.LN10, "dpm-grid")),
    ...plot.marks(
      decades.map((k) => k * Math.LN10),
      (x) => (Math.round(x / Math.LN10) === decades.at(-1) ? "τ" : power(Math.round(x / Math.LN10))),
    ),
    plot.upright(cutAt(), "dpm-cut"),
  ];

  function drawAreas(densities) {
    const top = 1.1 * Math.max(...Object.values(densities).flat());
    const plot = scales(areas, MARGINS, [low, high], [0, top]);
    const every = top > 0.6 ? 0.2 : top > 0.3 ? 0.1 : 0.05;
    const rows = evenly(0, 20, 20).map((k) => k * every);
    const parts = Object.entries(densities).flatMap(([which, values]) => {
      const line = values.map((v, i) => [levels[i], v]);
      const fill = [[low, 0], ...line, [high, 0]];
      return [
        svg("polygon", { points: joined(fill.map(plot.place)), class: `dpm-layer dpm-ink-${INKS[which]} dpm-pale` }),
        plot.curve(`dpm-law dpm-ink-${INKS[which]}${which === "second" ? " dpm-dashed" : ""}`, line),
      ];
    });
    renew(
      areas,
      ...plot.rows(
        rows.filter((v) => v < top),
        (v) => short(v),
      ),
      ...parts,
      ...axes(plot),
    );
  }
  function drawRatios() {
    const curves = Object.entries(chosen).map(([which, name]) => {
      const values = levels.map((x) => overBound(name, x));
      const most = Math.max(...values);
      return [which, values.map((v) => Math.log10(Math.max(v / most, 1e-12)))];
    });
    const plot = scales(ratios, MARGINS, [low, high], [-4, 0.3], { held: "y" });
    renew(
      ratios,
      ...plot.rows([-4, -2, 0], power),
      ...curves.map(([which, values]) =>
        plot.curve(`dpm-law dpm-ink-${INKS[which]}${which === "second" ? " dpm-dashed" : ""}`, values, (v, i) => [
          levels[i],
          v,
        ]),
      ),
      ...axes(plot),
    );
  }
  function drawError() {
    const top = 1.1 * Math.max(...error.map((e) => e / dim));
    const plot = scales(errors, MARGINS, [low, high], [0, top]);
    renew(
      errors,
      ...plot.rows([0, 0.5, 1, 1.5].filter((v) => v < top)),
      plot.curve("dpm-law dpm-ink-limit", error, (e, i) => [levels[i], e / dim]),
      ...axes(plot),
    );
  }
  function tell(densities) {
    const told = Object.entries(densities).map(([which, values]) => {
      const sums = running(levels, values);
      const below = heightAt(levels, sums, cutAt());
      const ends = [0.05, 0.95].map((share) => reached(levels, sums, share));
      const falls = fallsAt(chosen[which], levels);
      root.dataset[`${which}Below`] = below;
      root.dataset[`${which}Ends`] = ends.join(" ");
      root.dataset[`${which}Falls`] = falls ?? "never";
      const mixture =
        falls === null ? "A mixture of bounds." : `No mixture of bounds: it falls from τ = ${tau(falls)} on.`;
      return (
        `${chosen[which]}: ${fixed(100 * below, 0)} % of its loss lies below the cut; nine tenths between ` +
        `τ = ${tau(ends[0])} and ${tau(ends[1])}, and it looks away from the rest. ${mixture}`
      );
    });
    const both = common(levels, densities.first, densities.second);
    detail.textContent = `Cut at τ = ${tau(cutAt())}. ${told.join(" ")} In common: ${fixed(100 * both, 0)} %.`;
    Object.assign(root.dataset, { cut: cutAt(), common: both, ...chosen });
  }
  figure.draw = () => {
    const densities = Object.fromEntries(
      Object.entries(chosen).map(([which, name]) => [which, lossDensity(name, levels, error)]),
    );
    drawAreas(densities);
    drawRatios();
    drawError();
    tell(densities);
  };

  const options = Object.entries(OBJECTIVES).map(([name, { words }]) => [name, words]);
  const choose = (which, label) =>
    figure.chooser({ label, options, value: chosen[which], set: (next) => (chosen[which] = next) });
  const cut = figure.slider({
    label: "Cut",
    min: 0,
    max: STEPS,
    value: place,
    format: () => `τ = ${tau(cutAt())}`,
    set: (next) => (place = next),
    wide: true,
  });
  figure.add(
    controls(choose("first", "First"), choose("second", "Second"), cut),
    title("Where the loss stands", " weight × density of times × error, over τ; each area is 1"),
    areas,
    title(
      "Weight over the bound's",
      " on a logarithmic scale, the largest as 1; one that never falls is a mixture of bounds",
    ),
    ratios,
    title("Error of the network", " |x₀ − x̂₀|² for each coordinate"),
    errors,
    keys({ data: "the first", model: "the second (dashed)", limit: "the network's error" }),
    detail,
  );
  return figure.close;
}

export default live(render);
