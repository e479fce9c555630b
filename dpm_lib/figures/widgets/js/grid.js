// A matrix as a grid of boxes, each filled up to its value, some of them to drag; and a chain as a graph.

import { clamp, draggable, renew, svg } from "./common.js";
import { scales, text } from "./plot.js";

export const INKS = ["data", "model", "drift", "limit", "muted"];

export const inkOf = (i) => `dpm-ink-${INKS[i]}`;

/** A square plot, 240 wide and high whatever its size on the page. */
export const square = (kind, label, role = "img") =>
  svg("svg", { class: `dpm-plot ${kind}`, viewBox: "0 0 240 240", role, "aria-label": label });

/**
 * Draws probabilities over time into the plot `node`, with a line for `now`: `series` are [rows, kind], a row for each time
 * 0, ..., last and a colour for each state; `limits` are dashed across.
 */
export function drawCourse(node, { last, now, marks, format }, series, limits = []) {
  const plot = scales(node, { left: 30, right: 10, top: 8, bottom: 20 }, [0, last], [0, 1]);
  const curves = ([rows, kind]) =>
    rows.find(Boolean).map((_, i) => {
      const shown = [...rows.keys()].filter((t) => rows[t]);
      return plot.curve(`dpm-law ${kind} ${inkOf(i)}`, shown, (t) => [t, rows[t][i]]);
    });
  renew(
    node,
    ...plot.rows([0, 0.5, 1]),
    ...plot.marks(marks, format, (t) => (t === last && last > 60 ? "end" : "middle")),
    ...limits.map((p, i) => plot.across(p, `dpm-limit-line ${inkOf(i)}`)),
    ...series.flatMap(curves),
    plot.upright(now),
  );
}

const DRAG = 120; // pixels from 0 to `most`
const KEYS = {
  ArrowUp: 1,
  ArrowRight: 1,
  ArrowDown: -1,
  ArrowLeft: -1,
  PageUp: 5,
  PageDown: -5,
  Home: -Infinity,
  End: Infinity,
};

/**
 * Fills `node`, an svg with the viewBox 0 0 240 240. `make(n)` builds the boxes, `show(M)` fills them.
 *
 * A box goes from 0 to `most`. Dragged, or moved by keys in steps of `step` (a twentieth of it with Shift), it calls `change(i, j, value)`, unless
 * `fixed(i, j)`: then it only shows. `name(i, j)` is read out, `format(value)` written,
 * and `title()` in the corner.
 */
export function matrixGrid(node, { title, name, change, most = 1, step = 0.05, fixed = () => false, format }) {
  const corner = text(12, 14, "", "middle", "dpm-state");
  let boxes = [];
  let values = [];
  function box(i, j, side) {
    const x = 26 + side * j + 2;
    const y = 24 + side * i + 2;
    const size = side - 4;
    const fill = svg("rect", { x, width: size, class: `dpm-fill ${inkOf(j)}` });
    const words = text(x + size / 2, y + size / 2 + 5, "", "middle", "dpm-entry");
    const parts = [svg("rect", { x, y, width: size, height: size, rx: 3, class: "dpm-grip" }), fill, words];
    if (fixed(i, j)) return { i, j, y, size, fill, words, node: svg("g", { class: "dpm-box dpm-still" }, ...parts) };
    const grip = svg(
      "g",
      {
        class: "dpm-handle dpm-box",
        role: "slider",
        tabindex: 0,
        "aria-label": name(i, j),
        "aria-orientation": "vertical",
        "aria-valuemin": 0,
        "aria-valuemax": most,
      },
      ...parts,
    );
    const set = (value, digits = 2) => change(i, j, Number(clamp(value, 0, most).toFixed(digits)));
    draggable(grip, {
      keys: KEYS,
      step: (by, event) => (event.shiftKey ? set(values[i][j] + (by * step) / 20, 4) : set(values[i][j] + by * step)),
      take: (event) => ({ y: event.clientY, value: values[i][j] }),
      drag: (event, held) => set(held.value + (most * (held.y - event.clientY)) / DRAG),
    });
    return { i, j, y, size, fill, words, node: grip };
  }
  function make(n) {
    const side = 212 / n;
    const states = Array.from({ length: n }, (_, i) => i);
    boxes = states.flatMap((i) => states.map((j) => box(i, j, side)));
    const margins = states.flatMap((i) => [
      text(12, 26 + side * (i + 0.5) + 5, i + 1),
      text(26 + side * (i + 0.5), 14, i + 1),
    ]);
    node.replaceChildren(corner, ...margins, ...boxes.map((each) => each.node));
  }
  function show(matrix) {
    values = matrix;
    corner.textContent = title();
    for (const { i, j, y, size, fill, words, node: shown } of boxes) {
      const value = values[i][j];
      const share = clamp(value / most, 0, 1) || 0; // NaN shows as empty
      fill.setAttribute("y", y + size * (1 - share));
      fill.setAttribute("height", size * share);
      words.textContent = format(value);
      if (fixed(i, j)) continue;
      shown.setAttribute("aria-valuenow", value.toFixed(3));
      shown.setAttribute("aria-valuetext", format(value));
    }
  }
  return { make, show };
}

/** Draws states on a circle into `node`: arrows as thick as `weights[i][j]` in 0..1, circles as full as `law[i]`. */
export function showGraph(node, weights, law) {
  const n = law.length;
  const place = (i) => {
    const angle = (2 * Math.PI * i) / n - Math.PI / 2;
    return [120 + 74 * Math.cos(angle), 124 + 74 * Math.sin(angle)];
  };
  function arrow(i, j, p) {
    const [x1, y1] = place(i);
    const [x2, y2] = place(j);
    const width = 0.6 + 4.4 * p;
    if (i === j) {
      const out = Math.atan2(y1 - 124, x1 - 120);
      const at = (angle, r) => [x1 + r * Math.cos(out + angle), y1 + r * Math.sin(out + angle)].join(" ");
      return svg("path", {
        d: `M ${at(-0.7, 20)} C ${at(-0.6, 47)} ${at(0.6, 47)} ${at(0.7, 20)}`,
        class: `dpm-arrow ${inkOf(i)}`,
        "stroke-width": width,
      });
    }
    const length = Math.hypot(x2 - x1, y2 - y1);
    const [ux, uy] = [(x2 - x1) / length, (y2 - y1) / length];
    const side = 6;
    const tip = 19 + 4 + width;
    const ax = x1 + 19 * ux - side * uy;
    const ay = y1 + 19 * uy + side * ux;
    const bx = x2 - tip * ux - side * uy;
    const by = y2 - tip * uy + side * ux;
    const half = 2.5 + width;
    const head = `${bx + (half + 3) * ux},${by + (half + 3) * uy} ${bx - half * uy},${by + half * ux} ${bx + half * uy},${by - half * ux}`;
    return svg(
      "g",
      { class: inkOf(i) },
      svg("line", { x1: ax, y1: ay, x2: bx, y2: by, class: "dpm-arrow", "stroke-width": width }),
      svg("polygon", { points: head, class: "dpm-head" }),
    );
  }
  const arrows = weights.flatMap((row, i) => row.map((p, j) => (p > 0 ? arrow(i, j, p) : "")));
  const nodes = law.map((p, i) => {
    const [x, y] = place(i);
    return svg(
      "g",
      { class: `dpm-node ${inkOf(i)}` },
      svg("circle", { cx: x, cy: y, r: 17, class: "dpm-hollow" }),
      svg("circle", { cx: x, cy: y, r: 17 * Math.sqrt(clamp(p, 0, 1)), class: "dpm-full" }),
      text(x, y + 5, i + 1, "middle", "dpm-state"),
    );
  });
  renew(node, ...arrows, ...nodes);
}
