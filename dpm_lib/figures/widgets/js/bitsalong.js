// Where along the noise several models of the same pictures spend their bits, and what L_simple counts of it.

import { controls, html, keys, numbers, openFigure, renew, title } from "./common.js";
import { evenly, fixed, openPlot, power, scales, short } from "./plot.js";
import { live } from "./view.js";

/** What stands left of `x` under a density on cells of this width that begin at `low`. */
export const leftOf = (density, low, cell, x) =>
  density.reduce((sum, v, i) => sum + v * Math.min(cell, Math.max(0, x - low - i * cell)), 0);

/** A density on cells as the corners of its steps. */
export const stairs = (density, low, cell) =>
  density.flatMap((v, i) => [
    [low + i * cell, v],
    [low + (i + 1) * cell, v],
  ]);

const MARGINS = { left: 44, right: 14, top: 10, bottom: 22, gap: 6, foot: 5 };
const INKS = ["data", "model", "drift"];
const LINES = ["", " dpm-dashed", ""];
const ONE = 2 * Math.LN10; // a decade of the noise's standard deviation, in log τ

function render({ model, el }) {
  const figure = openFigure(model, el, "bitsalong");
  const { root } = figure;
  const names = model.get("names");
  const [low, cell, prior] = ["low", "cell", "prior"].map((name) => model.get(name));
  const [net, simple, weight] = ["net", "simple", "weight"].map((name) => {
    const all = Array.from(numbers(model.get(name), Float64Array));
    const cells = all.length / names.length;
    return names.map((_, k) => all.slice(k * cells, (k + 1) * cells));
  });
  const cells = net[0].length;
  const high = low + cell * cells;
  let place = Math.round((model.get("cut") - low) / cell);
  let counts = model.get("counts");
  const cutAt = () => low + cell * place;
  const noise = (x) => `${short(Math.exp(x / 2))} ${x === 0 ? "level" : "levels"}`;

  const main = openPlot(figure, "dpm-by-level", "Density over the noise, in levels of grey, one curve for each model");
  const weights = openPlot(figure, "dpm-ratios", "How often DDPM's times fall on each noise");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const heading = html("span", { class: "dpm-unit" });
  const [first, final] = [Math.ceil(low / ONE), Math.floor(high / ONE)];
  const decades = evenly(first, final, final - first);
  const axes = (plot) => [
    ...decades.map((k) => plot.upright(k * ONE, "dpm-grid")),
    ...plot.marks(
      decades.map((k) => k * ONE),
      (x) => power(Math.round(x / ONE)),
    ),
    plot.upright(cutAt(), "dpm-cut"),
  ];
  function draw(node, densities, every) {
    const top = 1.08 * Math.max(...densities.flat());
    const bottom = Math.min(0, 1.08 * Math.min(...densities.flat()));
    const plot = scales(node, MARGINS, [low, high], [bottom, top]);
    const rows = evenly(-20, 40, 60)
      .map((k) => k * every)
      .filter((v) => v >= bottom && v < top);
    renew(
      node,
      ...plot.rows(
        rows,
        (v) => short(v),
        (v) => (v === 0 ? "dpm-axis" : "dpm-grid"),
      ),
      ...densities.map((density, k) => plot.curve(`dpm-law dpm-ink-${INKS[k]}${LINES[k]}`, stairs(density, low, cell))),
      ...axes(plot),
    );
  }
  figure.draw = () => {
    const shown = counts === "bits" ? net : simple;
    draw(main, shown, counts === "bits" ? 0.2 : 0.1);
    draw(weights, weight, 0.1);
    const left = shown.map((density) => leftOf(density, low, cell, cutAt()));
    const all = shown.map((density) => leftOf(density, low, cell, high));
    const told = names.map((name, k) => {
      if (counts === "simple") return `${name}: ${fixed(100 * left[k], 0)} % of what L_simple counts`;
      return `${name}: ${fixed(left[k], 2)} of ${fixed(all[k] + prior[k], 2)} bits, ${fixed(all[k] - left[k], 2)} right of it`;
    });
    heading.textContent =
      counts === "bits"
        ? " bits a dimension per unit of log τ, the last step taken off; the area is the number of bits"
        : " share of L_simple per unit of log τ; each area is 1";
    detail.textContent = `Left of a noise of ${noise(cutAt())}: ${told.join(". ")}.`;
    Object.assign(root.dataset, { cut: cutAt(), left: left.join(" "), all: all.join(" "), counts });
  };

  const chooser = figure.chooser({
    label: "Count",
    options: [
      ["bits", "bits"],
      ["simple", "what L_simple counts"],
    ],
    value: counts,
    set: (next) => (counts = next),
  });
  const cut = figure.slider({
    label: "Cut at a noise of",
    min: 0,
    max: cells,
    value: place,
    format: () => noise(cutAt()),
    set: (next) => (place = next),
    wide: true,
  });
  figure.add(
    controls(chooser, cut),
    html("p", { class: "dpm-title" }, "Along the noise", heading),
    main,
    title("Weight of L_simple", " how often DDPM's times fall on each noise; in each model's own units of grey"),
    weights,
    keys(Object.fromEntries(names.map((name, k) => [INKS[k], name]))),
    detail,
  );
  return figure.close;
}

export default live(render);
