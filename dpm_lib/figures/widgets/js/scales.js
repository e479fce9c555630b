// Where each nat lives: eight points in pairs of pairs of pairs, and the information on each choice along log t.

import { clamp, controls, draggable, html, openFigure, renew, svg, title } from "./common.js";
import { dataEntropy, estimate, levelDensities, lineRule, noiseEntropy } from "./immse.js";
import {
  circle,
  evenly,
  handle,
  joined,
  keySteps,
  line,
  minus,
  moveHandle,
  openPlot,
  power,
  scales,
  sharesAt,
  short,
} from "./plot.js";
import { live } from "./view.js";

const LOW = -4;
const HIGH = 4;
const PER_DECADE = 20;
const MARGINS = { left: 40, right: 14, top: 10, bottom: 40, gap: 6, foot: 5 };
const NAMES = ["which half", "which pair", "which point", "where in its blob"];
const INKS = ["data", "model", "drift", "limit"];

/** All eight places +-a +-b +-c for spacings 2a, 2b, 2c. */
export const places = (spacings) => spacings.reduce((all, gap) => all.flatMap((c) => [c - gap / 2, c + gap / 2]), [0]);

function render({ model, el }) {
  const figure = openFigure(model, el, "scales");
  const { root } = figure;
  const rule = lineRule(0.15);
  const levels = Array.from({ length: (HIGH - LOW) * PER_DECADE + 1 }, (_, i) => 10 ** (LOW + i / PER_DECADE));
  const spacings = Array.from(model.get("spacings"));
  let blob = -2.5; // log10 of the variance of each blob
  let place = 4 * PER_DECADE;
  let densities = null;

  const label = "Information per unit of log t, with a handle for each spacing";
  const hills = openPlot(figure, "dpm-hills", label, "group");
  const backdrop = svg("g");
  const seen = openPlot(figure, "dpm-seen", "Density of what is seen at this noise, over the eight points");
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const variance = () => 10 ** blob;

  // A spacing g is told at noise of about (g / 2)^2: there its handle stands.
  const handles = spacings.map((_, k) => {
    const kind = `dpm-sideways dpm-ink-${INKS[k]}`;
    const options = { label: `Spacing: ${NAMES[k]}`, min: 0.02, max: 100, orientation: "horizontal", kind };
    const node = handle(options, circle("dpm-dot", 0, 0, 7));
    const set = (log) => {
      spacings[k] = 10 ** clamp(Math.round(log * 50) / 50, -1.7, 2);
      densities = null;
      figure.redraw();
    };
    draggable(node, {
      keys: keySteps(0.04, 0.3),
      step: (by) => set(Math.log10(spacings[k]) + by),
      drag: (event) => {
        const log = LOW + sharesAt(event, hills, MARGINS).x * (HIGH - LOW);
        set(0.5 * log + Math.log10(2));
      },
    });
    return node;
  });
  hills.append(backdrop, ...handles);
  figure.keep(
    "spacings",
    () => spacings.map((v) => Math.log10(v)),
    (values) => {
      values.forEach((v, k) => (spacings[k] = 10 ** clamp(v, -1.7, 2)));
      densities = null;
    },
  );

  function drawHills() {
    const stacked = densities.map((parts) => [0, 1, 2, 3, 4].map((k) => parts.slice(0, k).reduce((a, b) => a + b, 0)));
    const top = Math.max(0.6, 1.08 * Math.max(...stacked.map((sums) => sums.at(-1))));
    const plot = scales(hills, MARGINS, [LOW, HIGH], [0, top]);
    const logAt = (i) => LOW + i / PER_DECADE;
    const layer = (k) => {
      const edge = (sums, i) => [logAt(i), sums[k]];
      const above = (sums, i) => [logAt(i), sums[k + 1]];
      return joined([...stacked.map(above), ...stacked.map(edge).reverse()].map(plot.place));
    };
    const decades = evenly(LOW, HIGH, HIGH - LOW);
    renew(
      backdrop,
      ...NAMES.map((_, k) => svg("polygon", { class: `dpm-layer dpm-ink-${INKS[k]}`, points: layer(k) })),
      ...decades.map((k) => plot.upright(k, "dpm-grid")),
      ...plot.marks(decades, (k) => (k === HIGH ? "t" : power(k))),
      ...plot.rows([0, 0.25, 0.5], minus, (v) => (v ? "dpm-grid" : "dpm-axis")),
      plot.upright(logAt(place), "dpm-cut"),
    );
    handles.forEach((node, k) => {
      const x = plot.x(clamp(2 * Math.log10(spacings[k] / 2), LOW, HIGH));
      moveHandle(node, x, plot.floor + 9, short(spacings[k]), short(spacings[k]));
    });
  }
  function drawSeen() {
    const centers = places(spacings);
    const t = levels[place];
    const width = variance() + t;
    const reach = 1.15 * Math.max(...centers) + 2.2 * Math.sqrt(Math.min(width, 4 * Math.max(...centers) ** 2));
    const spots = [...evenly(-reach, reach, 480), ...centers].sort((a, b) => a - b);
    const heights = spots.map((v) => centers.reduce((sum, c) => sum + Math.exp(-((v - c) ** 2) / (2 * width)), 0));
    const plot = scales(seen, { ...MARGINS, top: 8, bottom: 18 }, [-reach, reach], [0, Math.max(...heights)]);
    renew(
      seen,
      line(plot.left, plot.floor + 2, plot.end, plot.floor + 2, "dpm-axis"),
      plot.curve("dpm-line", spots, (v, i) => [v, heights[i]]),
      ...centers.map((c) => line(plot.x(c), plot.height - 12, plot.x(c), plot.height - 2, "dpm-tick")),
    );
  }
  figure.draw = () => {
    densities ??= levels.map((t) => levelDensities(spacings, variance(), t, rule));
    drawHills();
    drawSeen();
    const centers = places(spacings);
    const data = { centers, weights: centers.map(() => 1 / 8), variance: variance() };
    const t = levels[place];
    const told = NAMES.map((_, k) => {
      const cell = (from) => {
        const inner = places(spacings.slice(from));
        return estimate({ centers: inner, weights: inner.map(() => 1 / inner.length), variance: variance() }, t, rule)
          .entropy;
      };
      return cell(k) - (k < 3 ? cell(k + 1) : noiseEntropy(t));
    });
    detail.textContent =
      `Seen through noise t = ${short(t)}, a point tells ${NAMES.map((name, k) => `${name} ${told[k].toFixed(2)}`).join(", ")} nats. ` +
      `Whole choices are worth log 2 = 0.69 each; the place in a blob has no end.`;
    Object.assign(root.dataset, {
      told: told.join(" "),
      spacings: spacings.join(" "),
      t,
      entropy: dataEntropy(data, rule),
    });
  };

  const noise = figure.slider({
    label: "Look through noise t",
    min: 0,
    max: levels.length - 1,
    value: place,
    format: (i) => short(levels[i]),
    set: (next) => (place = next),
  });
  const width = figure.slider({
    label: "Width of a blob",
    min: -6,
    max: 2,
    step: 0.1,
    value: blob,
    format: (v) => short(10 ** (v / 2)),
    set: (next) => {
      blob = next;
      densities = null;
    },
  });
  figure.add(
    title("Information per unit of log t", " in nats, stacked; drag the three dots"),
    hills,
    html(
      "p",
      { class: "dpm-detail dpm-keys" },
      ...NAMES.map((name, k) => html("span", { class: `dpm-ink-${INKS[k]}` }, name)),
    ),
    controls(noise, width),
    title("What is seen", " density of z(t); the eight points below it"),
    seen,
    detail,
  );
  return figure.close;
}

export default live(render);
