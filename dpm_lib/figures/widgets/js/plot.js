// Plots in SVG, in pixels of the page: scales, ticks, curves and bars. A figure draws its plots anew at each redraw.

import { attribute, clamp, sizeOf, svg } from "./common.js";

// --- Words and numbers. ---

/** With the minus sign that type has. */
export const minus = (words) => String(words).replace("-", "−");

/** With this many decimals, and no minus before a zero. */
export const fixed = (value, digits = 3) => minus((Math.abs(value) < 0.5 * 10 ** -digits ? 0 : value).toFixed(digits));

/** With this many digits, and no zeros after them. */
export const short = (value, digits = 2) => minus(Number(value.toPrecision(digits)));

/** A power of ten, as words. */
export const power = (k) => (k === 0 ? "1" : `10${[...String(k)].map((c) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c] ?? "⁻").join("")}`);

export const inBits = (nats) => nats / Math.LN2;

// --- Elements. ---

export const text = (x, y, words, anchor = "middle", kind = null) =>
  svg("text", { x, y, "text-anchor": anchor, class: kind }, words);

export const line = (x1, y1, x2, y2, kind) => svg("line", { x1, y1, x2, y2, class: kind });

/** [[x, y], ...] as the points of a polyline or polygon. */
export const joined = (points) => points.map(([x, y]) => `${x.toFixed(3)},${y.toFixed(3)}`).join(" ");

export const polyline = (kind, points) => svg("polyline", { points: joined(points), class: kind });

export const circle = (kind, cx, cy, r) => svg("circle", { cx, cy, r, class: kind });

export const rect = (kind, x, y, width, height) =>
  svg("rect", { x, y, width: Math.max(0, width), height: Math.max(0, height), class: kind });

/** A handle at (0, 0), for `draggable` and `moveHandle`: a slider to a screen reader. */
export const handle = ({ label, min, max, orientation, kind = "", dot = 6, grip = 15 }, ...parts) =>
  svg(
    "g",
    {
      class: `dpm-handle ${kind}`,
      role: "slider",
      tabindex: 0,
      "aria-label": label,
      "aria-orientation": orientation,
      "aria-valuemin": min,
      "aria-valuemax": max,
    },
    circle("dpm-grip", 0, 0, grip),
    ...(parts.length ? parts : [svg("circle", { r: dot })]),
  );

/** Keys for `draggable`: by how much the arrows, the pages, and Home and End move. */
export const keySteps = (arrow, page, end) => ({
  ...{ ArrowUp: arrow, ArrowRight: arrow, ArrowDown: -arrow, ArrowLeft: -arrow },
  ...(page && { PageUp: page, PageDown: -page }),
  ...(end && { Home: -end, End: end }),
});

/** Puts a handle where it belongs, with its value, and the value in words. */
export function moveHandle(node, x, y, value, words) {
  attribute(node, "transform", `translate(${x} ${y})`);
  attribute(node, "aria-valuenow", value);
  attribute(node, "aria-valuetext", words);
}

// --- The plot. ---

/** An svg for a plot, drawn anew when its size changes. It is a picture to a screen reader, unless `role` says otherwise. */
export function openPlot(figure, kind, label, role = "img") {
  const node = svg("svg", { class: `dpm-plot ${kind}`, role, "aria-label": label });
  figure.onResize(node);
  return node;
}

/** Where `v` lies between `low` and `high`, as a share; by its logarithm if `log`. */
const shareOf = (v, [low, high], log) => (log ? Math.log(v / low) / Math.log(high / low) : (v - low) / (high - low));

/**
 * Scales for the plot `node` at the size that it has, and what is drawn by them.
 *
 * `x` and `y` are the values at the ends of the axes. `margins` are pixels: { left, right, top, bottom }, with `gap` from
 * the words beside the axis to it, and `foot` from the words below it to the edge of the plot. `log` names the axes that are
 * logarithmic ("x", "y", "xy"), `held` those whose values beyond the ends are drawn at the ends.
 */
export function scales(node, margins, x, y, { log = "", held = "" } = {}) {
  const { left, right, top, bottom, gap = 5, foot = 4 } = margins;
  const size = sizeOf(node);
  const width = size.width || 600;
  const height = size.height || 170;
  const floor = height - bottom;
  const end = width - right;
  const share = (axis, v, ends) => {
    const drawn = held.includes(axis) ? clamp(v, ...ends) : v; // before the logarithm: it may be negative
    return shareOf(drawn, ends, log.includes(axis));
  };
  const X = (v) => left + (end - left) * share("x", v, x);
  const Y = (v) => floor - (floor - top) * share("y", v, y);
  const place = ([a, b]) => [X(a), Y(b)];
  return {
    ...{ width, height, left, end, top, floor, x: X, y: Y, place },
    /** A line across at height y; a line upright at x. */
    across: (v, kind = "dpm-grid") => line(left, Y(v), end, Y(v), kind),
    upright: (v, kind = "dpm-axis") => line(X(v), top, X(v), floor, kind),
    axis: () => line(left, floor, end, floor, "dpm-axis"),
    /** Lines across, each with its value beside it; values below the axis. */
    rows: (values, format = minus, kind = () => "dpm-grid") =>
      values.flatMap((v) => [line(left, Y(v), end, Y(v), kind(v)), text(left - gap, Y(v) + 4, format(v), "end")]),
    marks: (values, format = minus, anchor = () => "middle") =>
      values.map((v) => text(X(v), height - foot, format(v), anchor(v))),
    /** A curve through [x, y], which `at(value, i)` makes of each value; a bar between two x, up to v; a dot. */
    curve: (kind, values, at = (pair) => pair) => polyline(kind, Array.from(values, at).map(place)),
    bar: (kind, from, to, v) => rect(kind, X(from), Y(v), X(to) - X(from), floor - Y(v)),
    dot: (kind, a, b, r) => circle(kind, X(a), Y(b), r),
  };
}

/** Where a pointer is on a plot with these margins, as shares of its axes. */
export function sharesAt(event, node, { left, right, top, bottom }) {
  const box = node.getBoundingClientRect();
  const zoom = node.currentCSSZoom ?? 1; // slides have it
  return {
    x: (event.clientX - box.left - zoom * left) / (box.width - zoom * (left + right)),
    y: (box.height - zoom * bottom - (event.clientY - box.top)) / (box.height - zoom * (top + bottom)),
  };
}

/** Even places for a curve: `count` + 1 from `low` to `high`. */
export const evenly = (low, high, count) =>
  Array.from({ length: count + 1 }, (_, i) => low + ((high - low) * i) / count);
