// The denoising loss at every level of noise: its floor, a network's loss above it, and a wrong denoiser to drag.

import { clamp, controls, draggable, html, keys, numbers, openFigure, renew, svg, title } from "./common.js";
import { estimate, lineRule, momentsOf } from "./immse.js";
import { lineDensity, lineScore } from "./mixture.js";
import { circle, evenly, fixed, handle, line, moveHandle, openPlot, power, scales, sharesAt, short } from "./plot.js";
import { live } from "./view.js";

// --- Numbers. Data { centers, weights, variance } on the line; the wrong guess is mean + keep (guess - mean) + bias. ---

/** E[y | z]. */
export const bestGuess = (z, t, data) => z + t * lineScore(z, t, data);

export function wrongGuess(z, t, data, { keep, bias }) {
  const { mean } = momentsOf(data);
  return mean + keep * (bestGuess(z, t, data) - mean) + bias;
}

/** E|y - guess(z)|^2 over data and noise: a sum over both, that knows nothing of floors. */
export function squaredError(data, t, wrong, rule) {
  const [wide, noise] = [Math.sqrt(data.variance), Math.sqrt(t)];
  const inner = wide > 0 ? rule : { nodes: [0], weights: [1] };
  let total = 0;
  data.centers.forEach((c, k) => {
    for (let i = 0; i < inner.nodes.length; i++) {
      const y = c + wide * inner.nodes[i];
      let sum = 0;
      for (let j = 0; j < rule.nodes.length; j++)
        sum += rule.weights[j] * (y - wrongGuess(y + noise * rule.nodes[j], t, data, wrong)) ** 2;
      total += data.weights[k] * inner.weights[i] * sum;
    }
  });
  return total;
}

/** E|s(z) - grad log P_t(z)|^2 for the score s = (guess - z) / t of the wrong guess: a sum over z alone. */
export function fisherOf(data, t, wrong, rule) {
  const spread = Math.sqrt(data.variance + t);
  let total = 0;
  data.centers.forEach((c, k) => {
    rule.nodes.forEach((g, i) => {
      const z = c + spread * g;
      const off = (wrongGuess(z, t, data, wrong) - z) / t - lineScore(z, t, data);
      total += data.weights[k] * rule.weights[i] * off * off;
    });
  });
  return total;
}

/** mmse(t), and the squared error of the wrong guess: more by (1 - keep)^2 Var[E[y | z]] + bias^2. */
export function floorAndLoss(data, t, { keep, bias }, rule) {
  const floor = estimate(data, t, rule).mmse;
  return { floor, loss: floor + (1 - keep) ** 2 * (momentsOf(data).variance - floor) + bias * bias };
}

// --- The figure. ---

const LOW = -3;
const HIGH = 2;
const PER_DECADE = 16;
const MARGINS = { left: 48, right: 14, top: 10, bottom: 22, gap: 6, foot: 5 };
const SCALES = {
  x0: { words: "of y: |y − ŷ|²", power: 0 },
  epsilon: { words: "of the noise: divided by t", power: 1 },
  score: { words: "of the score: divided by t²", power: 2 },
};

function render({ model, el }) {
  const figure = openFigure(model, el, "floor");
  const { root } = figure;
  const data = Object.fromEntries(["centers", "weights", "variance"].map((name) => [name, model.get(name)]));
  const [levels, losses, errors] = ["levels", "losses", "errors"].map((name) => numbers(model.get(name), Float64Array));
  const rule = lineRule(0.1);
  const coarse = lineRule(0.25);
  const t = evenly(LOW, HIGH, (HIGH - LOW) * PER_DECADE).map((k) => 10 ** k);
  const logAt = (i) => LOW + i / PER_DECADE;
  const { mean } = momentsOf(data);
  const floors = Array.from(levels, (level) => estimate(data, level, rule).mmse);
  const wrong = { keep: model.get("keep"), bias: model.get("bias") };
  let place = Math.round((Math.log10(model.get("t")) - LOW) * PER_DECADE);
  let unit = "score";

  const guesses = openPlot(
    figure,
    "dpm-guesses",
    "Guesses of the data over the noisy point z, with two handles",
    "group",
  );
  const curves = openPlot(figure, "dpm-by-level", "Loss over the noise t: floor, network and wrong denoiser");
  const ratios = openPlot(figure, "dpm-ratios", "The same losses, divided by the floor");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const backdrop = svg("g");

  // --- The wrong denoiser, to drag. ---

  const spread = () => Math.sqrt(momentsOf(data).variance + t[place]);
  const places = () => ({ bias: mean, keep: mean + 1.5 * spread() }); // of the handles, along z
  const handles = Object.entries({ bias: "Bias of the wrong denoiser", keep: "What it keeps of the guess" }).map(
    ([name, label]) => {
      const [min, max] = name === "bias" ? [-1, 1] : [0, 1.5];
      const node = handle(
        { label, min, max, kind: `dpm-ink-${name === "bias" ? "model" : "drift"}` },
        circle("dpm-dot", 0, 0, 7),
      );
      const set = (value) => {
        wrong[name] = Math.round(100 * clamp(value, min, max)) / 100;
        figure.redraw();
      };
      draggable(node, {
        keys: { ArrowUp: 0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowLeft: -0.02, PageUp: 0.2, PageDown: -0.2 },
        step: (by) => set(wrong[name] + by),
        drag: (event) => {
          const [low, high] = heights();
          const seen = low + (high - low) * sharesAt(event, guesses, MARGINS).y;
          const best = bestGuess(places()[name], t[place], data) - mean;
          if (name === "bias") set(seen - mean - wrong.keep * best);
          else if (Math.abs(best) > 0.02) set((seen - mean - wrong.bias) / best);
        },
      });
      return [name, node];
    },
  );
  guesses.append(backdrop, ...handles.map(([, node]) => node));
  figure.keep(
    "wrong",
    () => [wrong.bias, wrong.keep],
    ([bias, keep]) => Object.assign(wrong, { bias: clamp(bias, -1, 1), keep: clamp(keep, 0, 1.5) }),
  );
  const heights = () => {
    const [low, high] = [Math.min(...data.centers), Math.max(...data.centers)];
    const room = 0.35 * (high - low) + 2 * Math.sqrt(data.variance) + 0.4;
    return [low - room, high + room];
  };

  function drawGuesses() {
    const reach = 3 * spread();
    const spots = evenly(mean - reach, mean + reach, 200);
    const [low, high] = heights();
    const plot = scales(guesses, MARGINS, [mean - reach, mean + reach], [low, high], { held: "y" });
    const hill = spots.map((z) => lineDensity(z, t[place], data));
    const top = Math.max(...hill);
    const ends = [low, high].map((v) => Number((v > 0 ? Math.floor(v) : Math.ceil(v)).toFixed(0)));
    renew(
      backdrop,
      ...plot.rows([ends[0], 0, ends[1]]),
      ...plot.marks([spots[20], mean, spots[180]], (v) => fixed(v, 1)),
      plot.curve("dpm-law dpm-ink-muted dpm-faint", spots, (z, i) => [z, low + 0.35 * (high - low) * (hill[i] / top)]),
      plot.curve("dpm-law dpm-ink-data", spots, (z) => [z, bestGuess(z, t[place], data)]),
      plot.curve("dpm-law dpm-ink-model dpm-dashed", spots, (z) => [z, wrongGuess(z, t[place], data, wrong)]),
    );
    for (const [name, node] of handles) {
      const z = places()[name];
      moveHandle(node, ...plot.place([z, wrongGuess(z, t[place], data, wrong)]), wrong[name], wrong[name].toFixed(2));
    }
  }
  function axes(plot) {
    const decades = evenly(LOW, HIGH, HIGH - LOW);
    return [
      ...decades.map((k) => plot.upright(k, "dpm-grid")),
      ...plot.marks(decades, (k) => (k === HIGH ? "t" : power(k))),
      plot.upright(Math.log10(t[place]), "dpm-cut"),
    ];
  }
  /** The network's losses, with two standard errors up and down; `at(loss, i)` is the height at its i-th level. */
  const measured = (plot, at) =>
    Array.from(levels, (level, i) => {
      const x = plot.x(Math.log10(level));
      const [below, mid, above] = [-2, 0, 2].map((side) => plot.y(at(losses[i] + side * errors[i], i)));
      return svg("g", { class: "dpm-network" }, line(x, below, x, above), circle(null, x, mid, 2.5));
    });
  function drawLosses(found) {
    const factor = SCALES[unit].power;
    const scaled = (v, level) => Math.log10(Math.max(v, 1e-12)) - factor * Math.log10(level);
    const all = found.flatMap(({ floor, loss }, i) => [scaled(floor, t[i]), scaled(loss, t[i])]);
    const [low, high] = [Math.floor(Math.min(...all)), Math.ceil(Math.max(...all))];
    const every = high - low > 6 ? 2 : 1;
    const plot = scales(curves, MARGINS, [LOW, HIGH], [low, high]);
    const show = (kind, name) => plot.curve(kind, found, (row, i) => [logAt(i), scaled(row[name], t[i])]);
    const rows = evenly(low, high, high - low).filter((k) => (k - low) % every === 0);
    renew(
      curves,
      ...axes(plot),
      ...plot.rows(rows, power),
      show("dpm-law dpm-ink-data", "floor"),
      show("dpm-law dpm-ink-model dpm-dashed", "loss"),
      ...measured(plot, (v, i) => scaled(v, levels[i])),
    );
  }
  function drawRatios(found) {
    const bands = Array.from(losses, (v, i) => [-2, 2].map((side) => (v + side * errors[i]) / floors[i])).flat();
    const wrongs = found.map(({ floor, loss }) => loss / floor);
    const top = clamp(Math.max(...(levels.length ? bands : wrongs)), 1.1, 2); // a network is nearer than what is dragged
    const bottom = Math.min(0.98, ...bands);
    const plot = scales(ratios, MARGINS, [LOW, HIGH], [bottom, top], { held: "y" });
    renew(
      ratios,
      ...axes(plot),
      ...plot.rows([0.5 * (1 + top), top], (v) => v.toFixed(2)),
      ...plot.rows([1], (v) => v.toFixed(2)),
      plot.across(1, "dpm-law dpm-ink-data"),
      plot.curve("dpm-law dpm-ink-model dpm-dashed", found, (row, i) => [logAt(i), row.loss / row.floor]),
      ...measured(plot, (v, i) => v / floors[i]),
    );
  }
  function tell(here) {
    const level = t[place];
    const unitOf = (v) => short(v / level ** SCALES[unit].power, 4);
    const loss = squaredError(data, level, wrong, coarse);
    const fisher = fisherOf(data, level, wrong, rule);
    const far = Array.from(levels, (v) => Math.abs(Math.log(v / level)));
    const net = far.indexOf(Math.min(...far));
    const times = (v) => fixed(v / floors[net], 3);
    const told = `The network, at t = ${short(levels[net] ?? 0)}: ${times(losses[net])} ± ${times(errors[net])} times the floor.`;
    detail.textContent =
      `At t = ${short(level)}: floor ${unitOf(here.floor)}; the wrong denoiser's loss ${unitOf(loss)}, more by ` +
      `${unitOf(loss - here.floor)}. Its Fisher divergence, in the same unit: ${unitOf(fisher * level * level)}.` +
      (levels.length ? ` ${told}` : "");
    Object.assign(root.dataset, { t: level, floor: here.floor, loss, fisher, ...wrong, unit });
  }
  figure.draw = () => {
    const found = t.map((level) => floorAndLoss(data, level, wrong, rule));
    drawGuesses();
    drawLosses(found);
    drawRatios(found);
    tell(found[place]);
  };

  const noise = figure.slider({
    label: "Noise t",
    min: 0,
    max: t.length - 1,
    value: place,
    format: (k) => short(t[k]),
    set: (next) => (place = next),
    wide: true,
  });
  const scale = figure.chooser({
    label: "Loss",
    options: Object.entries(SCALES).map(([name, { words }]) => [name, words]),
    value: unit,
    set: (next) => (unit = next),
  });
  figure.add(
    controls(noise, scale),
    title("Guesses of y over z", " drag the dots: what the wrong denoiser keeps, and its bias"),
    guesses,
    title("Loss", " of a guess, by the noise t"),
    curves,
    title("Loss over floor", " the same in every unit"),
    ratios,
    keys({
      data: "the best guess, and the floor mmse(t)",
      model: "the wrong denoiser (dashed)",
      ...(levels.length ? { limit: "a trained network, two standard errors" } : {}),
    }),
    detail,
  );
  return figure.close;
}

export default live(render);
