// Where each nat lives: eight points in pairs of pairs of pairs, and the information on each choice along log t.

import { clamp, controls, draggable, html, openFigure, svg, title } from "./common.js";
import { dataEntropy, estimate, levelDensities, lineRule, noiseEntropy } from "./immse.js";

const LOW = -4;
const HIGH = 4;
const PER_DECADE = 20;
const LEFT = 40;
const RIGHT = 14;
const TOP = 10;
const BOTTOM = 40;
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

  const hills = svg("svg", {
    class: "dpm-plot dpm-hills",
    role: "group",
    "aria-label": "Information per unit of log t, with a handle for each spacing",
  });
  const backdrop = svg("g");
  const seen = svg("svg", {
    class: "dpm-plot dpm-seen",
    role: "img",
    "aria-label": "Density of what is seen at this noise, over the eight points",
  });
  const detail = html("p", { class: "dpm-detail dpm-now" });
  const text = (x, y, words, anchor = "middle") => svg("text", { x, y, "text-anchor": anchor }, words);
  const line = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });
  const list = (values) => values.map(([x, y]) => `${x.toFixed(2)},${y.toFixed(2)}`).join(" ");
  const sizeOf = (node) => [node.clientWidth || 600, node.clientHeight || 150];
  const across = (log, width) => LEFT + ((log - LOW) / (HIGH - LOW)) * (width - LEFT - RIGHT);
  const power = (k) => (k === 0 ? "1" : `10${[...String(k)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`);
  const short = (v) => String(Number(v.toPrecision(2)));
  const variance = () => 10 ** blob;

  // A spacing g is told at noise of about (g / 2)^2: there its handle stands.
  const handles = spacings.map((_, k) => {
    const node = svg(
      "g",
      {
        class: `dpm-handle dpm-sideways dpm-ink-${INKS[k]}`,
        role: "slider",
        tabindex: 0,
        "aria-label": `Spacing: ${NAMES[k]}`,
        "aria-orientation": "horizontal",
        "aria-valuemin": 0.02,
        "aria-valuemax": 100,
      },
      svg("circle", { r: 15, class: "dpm-grip" }),
      svg("circle", { r: 7, class: "dpm-dot" }),
    );
    const set = (log) => {
      spacings[k] = 10 ** clamp(Math.round(log * 50) / 50, -1.7, 2);
      densities = null;
      figure.redraw();
    };
    draggable(node, {
      keys: { ArrowRight: 0.04, ArrowUp: 0.04, ArrowLeft: -0.04, ArrowDown: -0.04, PageUp: 0.3, PageDown: -0.3 },
      step: (by) => set(Math.log10(spacings[k]) + by),
      drag: (event) => {
        const box = hills.getBoundingClientRect();
        const log = LOW + ((event.clientX - box.left - LEFT) / (box.width - LEFT - RIGHT)) * (HIGH - LOW);
        set(0.5 * log + Math.log10(2));
      },
    });
    return node;
  });
  hills.append(backdrop, ...handles);

  function drawHills() {
    const [wide, high] = sizeOf(hills);
    const stacked = densities.map((parts) => [0, 1, 2, 3, 4].map((k) => parts.slice(0, k).reduce((a, b) => a + b, 0)));
    const top = Math.max(0.6, 1.08 * Math.max(...stacked.map((sums) => sums.at(-1))));
    const y = (v) => high - BOTTOM - (v / top) * (high - BOTTOM - TOP);
    const x = (i) => across(LOW + i / PER_DECADE, wide);
    const rows = NAMES.map((_, k) =>
      svg("polygon", {
        class: `dpm-layer dpm-ink-${INKS[k]}`,
        points: list([
          ...stacked.map((s, i) => [x(i), y(s[k + 1])]),
          ...stacked.map((s, i) => [x(i), y(s[k])]).reverse(),
        ]),
      }),
    );
    for (let k = LOW; k <= HIGH; k++)
      rows.push(
        line(x((k - LOW) * PER_DECADE), TOP, x((k - LOW) * PER_DECADE), high - BOTTOM, "dpm-grid"),
        text(x((k - LOW) * PER_DECADE), high - 5, k === HIGH ? "t" : power(k)),
      );
    for (const v of [0, 0.25, 0.5])
      rows.push(line(LEFT, y(v), wide - RIGHT, y(v), v ? "dpm-grid" : "dpm-axis"), text(LEFT - 6, y(v) + 4, v, "end"));
    rows.push(line(x(place), TOP, x(place), high - BOTTOM, "dpm-cut"));
    backdrop.replaceChildren(...rows);
    handles.forEach((node, k) => {
      node.setAttribute(
        "transform",
        `translate(${across(clamp(2 * Math.log10(spacings[k] / 2), LOW, HIGH), wide)} ${high - BOTTOM + 9})`,
      );
      node.setAttribute("aria-valuenow", short(spacings[k]));
      node.setAttribute("aria-valuetext", short(spacings[k]));
    });
  }
  function drawSeen() {
    const [wide, high] = sizeOf(seen);
    const centers = places(spacings);
    const t = levels[place];
    const width = variance() + t;
    const reach = 1.15 * Math.max(...centers) + 2.2 * Math.sqrt(Math.min(width, 4 * Math.max(...centers) ** 2));
    const x = (v) => LEFT + ((v + reach) / (2 * reach)) * (wide - LEFT - RIGHT);
    const spots = Array.from({ length: 481 }, (_, i) => -reach + (reach * i) / 240);
    for (const c of centers) spots.push(c);
    spots.sort((a, b) => a - b);
    const heights = spots.map((v) => centers.reduce((sum, c) => sum + Math.exp(-((v - c) ** 2) / (2 * width)), 0));
    const tallest = Math.max(...heights);
    seen.replaceChildren(
      line(LEFT, high - 16, wide - RIGHT, high - 16, "dpm-axis"),
      svg("polyline", {
        class: "dpm-line",
        points: list(spots.map((v, i) => [x(v), high - 18 - (high - 26) * (heights[i] / tallest)])),
      }),
      ...centers.map((c) => line(x(c), high - 12, x(c), high - 2, "dpm-tick")),
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
  for (const node of [hills, seen]) figure.onResize(node);
  return figure.close;
}

export default { render };
