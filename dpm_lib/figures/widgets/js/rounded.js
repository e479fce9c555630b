// A normal that is rounded to levels: the last step of a model of pictures, and the bits of a level under it.

import { controls, html, keys, openFigure, renew, title } from "./common.js";
import { evenly, fixed, openPlot, scales } from "./plot.js";
import { normalCdf } from "./probability.js";
import { live } from "./view.js";

const density = (x) => Math.exp(-0.5 * x * x) / Math.sqrt(2 * Math.PI);

/** The probabilities of the levels 0..count - 1, for a normal around `mean` of this deviation, both in levels. */
export function masses(mean, deviation, count) {
  return Array.from({ length: count }, (_, k) => {
    const low = k === 0 ? -Infinity : (k - 0.5 - mean) / deviation;
    const high = k === count - 1 ? Infinity : (k + 0.5 - mean) / deviation;
    const [near, far] = low + high > 0 ? [-low, -high] : [high, low]; // in the lower tail, where nothing cancels
    return normalCdf(near) - normalCdf(far);
  });
}

const MARGINS = { left: 40, right: 14, top: 10, bottom: 22, gap: 6, foot: 5 };
const BEYOND = 2; // levels beyond the ends that a guess may lie at

function render({ model, el }) {
  const figure = openFigure(model, el, "rounded");
  const { root } = figure;
  const count = model.get("count");
  const state = { mean: model.get("mean"), deviation: model.get("deviation"), level: model.get("level") };

  const bars = openPlot(figure, "dpm-by-level", "Probability of each level, and the normal that was rounded");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  figure.draw = () => {
    const { mean, deviation, level } = state;
    const found = masses(mean, deviation, count);
    const plot = scales(bars, MARGINS, [-BEYOND - 0.5, count - 0.5 + BEYOND], [0, 1.05]);
    const curve = evenly(-BEYOND - 0.5, count - 0.5 + BEYOND, 400);
    renew(
      bars,
      ...plot.rows([0, 0.5, 1], String, (v) => (v ? "dpm-grid" : "dpm-axis")),
      ...found.map((p, k) => plot.bar(`dpm-layer dpm-ink-${k === level ? "model" : "data"}`, k - 0.45, k + 0.45, p)),
      plot.curve("dpm-law dpm-ink-limit", curve, (x) => [
        x,
        Math.min(1.05, density((x - mean) / deviation) / deviation),
      ]),
      ...plot.marks(evenly(0, count - 1, count - 1).filter((k) => k % 4 === 0)),
      plot.upright(mean, "dpm-cut"),
    );
    const bits = -Math.log2(found[level]);
    const average = found.reduce((sum, p, k) => sum + p * k, 0);
    const sum = found.reduce((a, b) => a + b, 0);
    detail.textContent =
      `Level ${level} costs ${fixed(bits, 2)} bits. The levels sum to ${fixed(sum, 3)}; their mean is ` +
      `${fixed(average, 2)}, the guess ${fixed(mean, 1)}. At the ends: ${fixed(found[0], 3)} and ${fixed(found.at(-1), 3)}.`;
    Object.assign(root.dataset, { bits, average, sum, ...state });
  };
  const slider = (label, name, min, max, step, format) =>
    figure.slider({ label, min, max, step, value: state[name], format, set: (next) => (state[name] = next) });
  figure.add(
    controls(
      slider("Guess", "mean", -BEYOND, count - 1 + BEYOND, 0.1, (v) => fixed(v, 1)),
      slider("Deviation", "deviation", 0.1, 4, 0.05, (v) => `${fixed(v, 2)} levels`),
      slider("True level", "level", 0, count - 1, 1, String),
    ),
    title("A normal, rounded to levels", " probability of each; the line is its density"),
    bars,
    keys({ data: "probability of a level", model: "the true one", limit: "the normal" }),
    detail,
  );
  return figure.close;
}

export default live(render);
