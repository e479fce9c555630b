// How many tokens are drawn at once, on a slider: the law of strings beside the one that comes out, and the bits that are lost.

import { button, clamp, controls, html, keys, openFigure, renew, renewFor, title, uniforms } from "./common.js";
import { blocks, decoded, divergence, drawString } from "./parallel.js";
import { evenly, fixed, inBits, openPlot, rect, scales, text } from "./plot.js";
import { readLaw, spelled, staircase, subsetChances, subsetEntropies } from "./stringlaw.js";
import { live } from "./view.js";

const DRAWS = 16;
const LABELLED = 20; // strings
const MARGINS = { left: 40, right: 10, top: 10, bottom: 34, foot: 18 };
const ORDERS = { random: "at random", confidence: "the surest first" };
const ticksTo = (top) => {
  const every = [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2].find((gap) => top / gap <= 6) ?? 5;
  return evenly(0, every * Math.floor(top / every), Math.floor(top / every));
};

function render({ model, el }) {
  const figure = openFigure(model, el, "decoding");
  const { root } = figure;
  const laws = model.get("laws");
  let name = model.get("law");
  let k = model.get("k");
  let order = model.get("order");
  let seed = 1;
  let law;
  let seen;
  let ladder;
  let found;

  const bars = openPlot(figure, "dpm-two-laws", "Each string: its probability, and that to draw it");
  const cost = openPlot(figure, "dpm-step-costs", "Bits a token at each step: needed, and lost");
  const draws = html("p", { class: "dpm-draws" });
  const now = html("p", { class: "dpm-detail dpm-now", role: "status" });

  function open() {
    law = readLaw(laws[name]);
    seen = subsetChances(law);
    ladder = staircase(law.d, subsetEntropies(law, seen));
    count.range.max = law.d;
    k = Math.min(k, law.d);
    count.set(k);
    compute();
  }
  function compute() {
    found = decoded(law, seen, k, order);
    figure.redraw();
  }

  function drawBars(missed) {
    const n = law.rows.length;
    const labelled = n <= LABELLED;
    const margins = { ...MARGINS, bottom: labelled ? 52 : 24 };
    const top = 1.08 * Math.max(missed, ...law.chances, ...found.drawn);
    const plot = scales(bars, margins, [0, n + 2], [0, top]);
    const wide = plot.x(1) - plot.x(0);
    const steep = labelled && wide < 11 * law.d;
    const label = (at, words) => {
      const node = text(plot.x(at), plot.floor + (steep ? 6 : 16), words, steep ? "end" : "middle");
      if (steep) node.setAttribute("transform", `rotate(-90 ${plot.x(at)} ${plot.floor + 6}) translate(0 4)`);
      return node;
    };
    renew(
      bars,
      ...plot.rows(ticksTo(top), (v) => fixed(v, top < 0.1 ? 2 : 1)),
      ...law.rows.flatMap((_, r) => [
        plot.bar("dpm-fill dpm-ink-data", r + 0.12, r + 0.88, law.chances[r]),
        plot.bar("dpm-solid dpm-ink-model", r + 0.3, r + 0.7, found.drawn[r]),
      ]),
      plot.bar("dpm-solid dpm-ink-limit", n + 0.9, n + 1.7, missed),
      plot.axis(),
      ...(labelled ? law.rows.map((row, r) => label(r + 0.5, spelled(law, row))) : []),
      label(n + 1.3, "other"),
    );
  }
  function drawCost() {
    const top =
      1.1 * inBits(Math.max(...ladder, ...found.steps.map(({ count: n, need, cost: lost }) => (need + lost) / n), 0.1));
    const plot = scales(cost, MARGINS, [0, law.d], [0, top]);
    let at = 0;
    const steps = found.steps.flatMap(({ count: n, need, cost: lost }) => {
      const [x, wide] = [plot.x(at) + 1, plot.x(at + n) - plot.x(at) - 2];
      const [low, high] = [plot.y(inBits(need / n)), plot.y(inBits((need + lost) / n))];
      at += n;
      return [
        rect("dpm-fill dpm-ink-data", x, low, wide, plot.floor - low),
        rect("dpm-solid dpm-ink-model", x, high, wide, low - high),
      ];
    });
    const stairs = ladder.flatMap((v, m) => [
      [m, inBits(v)],
      [m + 1, inBits(v)],
    ]);
    renew(
      cost,
      ...plot.rows(ticksTo(top), (v) => fixed(v, top < 0.5 ? 2 : 1)),
      ...steps,
      plot.curve("dpm-one-by-one", stairs),
      plot.axis(),
      ...plot.marks(evenly(0, law.d, law.d)),
      text((plot.left + plot.end) / 2, plot.height - 2, "tokens drawn before"),
    );
  }
  figure.draw = () => {
    const missed = Math.max(0, 1 - found.drawn.reduce((a, b) => a + b, 0));
    drawBars(missed);
    drawCost();
    renewFor(draws, [name, k, order, seed], () => {
      const uniform = uniforms(seed);
      return Array.from({ length: DRAWS }, () => {
        const { state, isPossible } = drawString(law, k, order, uniform);
        return html(isPossible ? "span" : "del", {}, spelled(law, state));
      });
    });
    const lost = found.steps.map((step) => inBits(step.cost));
    const total = lost.reduce((a, b) => a + b, 0);
    const n = blocks(law.d, k).length;
    const parts = n > 1 && total > 5e-4 ? ` = ${lost.map((v) => fixed(v, 2)).join(" + ")}` : "";
    now.textContent =
      `${k} at once, ${n} ${n === 1 ? "step" : "steps"}: ${fixed(total)} bits lost${parts}. ` +
      `D(law ‖ drawn) = ${fixed(inBits(divergence(law, found.drawn)))} bits. ${fixed(100 * missed, 1)} % are no string of the law.`;
    const divergenceNow = divergence(law, found.drawn);
    Object.assign(root.dataset, { k, order, law: name, lost: total, missed, divergence: inBits(divergenceNow), seed });
  };

  const which = figure.chooser({
    label: "Law",
    options: Object.keys(laws),
    value: name,
    set: (value) => (name = value),
    after: () => open(),
  });
  const count = figure.slider({
    label: "Tokens at once",
    min: 1,
    max: 8,
    value: k,
    format: (value) => `k = ${value}`,
    set: (value) => (k = value),
    after: compute,
  });
  const how = figure.chooser({
    label: "Order",
    options: Object.entries(ORDERS),
    value: order,
    set: (value) => (order = value),
    after: compute,
  });
  const again = button("New draws", () => (seed += 1), figure.redraw);
  figure.keep(
    "draws",
    () => seed,
    (value) => {
      seed = clamp(Math.round(value), 1, 1e6);
    },
  );
  figure.add(
    controls(count, which, how),
    title("Each string", " its probability, and that to be drawn"),
    bars,
    keys({ data: "the law", model: "drawn, exactly", limit: "drawn, but no string of the law" }),
    html(
      "div",
      { class: "dpm-two" },
      html(
        "div",
        {},
        title("Steps", " bits a token; areas are bits"),
        cost,
        keys({ data: "needed", model: "lost", muted: "one at a time, at random" }),
      ),
      html("div", {}, title(`${DRAWS} draws`, " struck out: no string of the law"), draws, controls(again)),
    ),
    now,
  );
  open();
  return figure.close;
}

export default live(render);
