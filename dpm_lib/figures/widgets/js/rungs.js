// The ladder: a string climbs from data to noise, and each rung costs what it forgets, plus what its way back gets wrong.

import { attribute, button, controls, html, keys, openFigure, renew, sizeOf, title, uniforms } from "./common.js";
import { account, BITS, CODES, climb, kept, ladder } from "./four.js";
import { fixed, inBits, line, openPlot, rect, text } from "./plot.js";
import { live } from "./view.js";

const NAMES = { autoregressive: "autoregressive model", vae: "VAE with a code of two bits", diffusion: "diffusion" };
const shown = (nats, digits = 3) => fixed(inBits(nats), digits);
const word = (x, bits) => x.toString(2).padStart(bits, "0").slice(-bits);

function render({ model, el }) {
  const figure = openFigure(model, el, "rungs");
  const settings = structuredClone(model.get("settings"));
  const uniform = uniforms(3);
  let y = 0b0011;
  let now;
  let path;
  let sums;

  const strings = openPlot(figure, "dpm-climb");
  const bars = openPlot(figure, "dpm-rung-costs");
  const gap = openPlot(figure, "dpm-gap");
  const detail = html("p", { class: "dpm-detail dpm-now", role: "status" });
  const z = (l) => (l ? `z${"₁₂₃₄"[l - 1]}` : "y");

  function compute() {
    now = ladder(settings);
    sums = account(now);
    path = climb(now, y, uniform);
    figure.redraw();
  }
  function cells(l) {
    const code = path[l];
    if (settings.kind === "vae" && l)
      return {
        symbols: [...word(code, 2)],
        changed: l > 1 ? [...word(code ^ path[l - 1], 2)].map(Number) : [],
        note: `≈ ${word(CODES[code], BITS)}`,
      };
    if (settings.kind === "autoregressive") {
      const n = kept(l, settings.rungs);
      return { symbols: [...(n ? word(code, n) : ""), ...Array(BITS - n).fill("")], changed: [] };
    }
    return { symbols: [...word(code, BITS)], changed: l ? [...word(code ^ path[l - 1], BITS)].map(Number) : [] };
  }
  const place = (width) => (l) => ((l + 0.5) * width) / (settings.rungs + 1.7);

  function drawStrings() {
    const width = sizeOf(strings).width || 600;
    const x = place(width);
    const step = width / (settings.rungs + 1.7);
    const side = Math.min(22, (step - 14) / BITS);
    const nodes = [];
    path.forEach((_, l) => {
      const { symbols, changed, note } = cells(l);
      const left = x(l) - (symbols.length * side) / 2;
      nodes.push(text(x(l), 14, z(l), "middle", "dpm-name"));
      symbols.forEach((symbol, i) => {
        const fill = symbol === "" ? " dpm-blank" : symbol === "1" ? " dpm-on-cell" : "";
        nodes.push(
          rect(`dpm-cell${fill}${changed[i] ? " dpm-flipped" : ""}`, left + i * side + 1, 24, side - 2, 24),
          text(left + (i + 0.5) * side, 41, symbol, "middle", symbol === "1" ? "dpm-on" : null),
        );
      });
      nodes.push(text(x(l), 66, note ?? `${shown(sums.information[l], 2)} bits`, "middle", null));
      if (note) nodes.push(text(x(l), 82, `${shown(sums.information[l], 2)} bits`));
      if (l) nodes.push(text((x(l) + x(l - 1)) / 2, 41, step - BITS * side > 12 ? "→" : "", "middle"));
    });
    renew(strings, ...nodes);
    const said = path.map(
      (_, l) =>
        `${z(l)} ${cells(l)
          .symbols.map((s) => s || "blank")
          .join(" ")}, ${shown(sums.information[l], 2)} bits left`,
    );
    attribute(strings, "aria-label", `A run of the encoder: ${said.join("; ")}`);
  }
  function drawBars() {
    const [width, height] = [sizeOf(bars).width || 600, sizeOf(bars).height || 150];
    const x = place(width);
    const floor = height - 36;
    const top = Math.max(2.8 * Math.LN2, ...sums.cost) * 1.04;
    const tall = (v) => (Math.max(0, v) / top) * (floor - 22);
    const step = width / (settings.rungs + 1.7);
    const wide = Math.min(54, 0.62 * step);
    const nodes = [line(0, floor, width, floor, "dpm-axis")];
    sums.cost.forEach((cost, i) => {
      const centre = x(i) + 0.5 * step;
      const [a, b] = [tall(sums.forgot[i]), tall(sums.loss[i])];
      const last = i === settings.rungs;
      nodes.push(
        rect("dpm-segment dpm-ink-data", centre - wide / 2, floor - a, wide, a),
        rect("dpm-segment dpm-ink-model", centre - wide / 2, floor - a - b, wide, b),
        text(centre, floor - a - b - 5, shown(cost, 2)),
        text(centre, height - 20, last ? "prior" : i ? `KL ${z(i)}←${z(i + 1)}` : `${z(0)}←${z(1)}`),
        text(centre, height - 5, `+${shown(sums.loss[i], 3)}`, "middle", "dpm-lost"),
      );
    });
    renew(bars, ...nodes);
    const said = sums.cost.map(
      (c, i) => `${i === settings.rungs ? "prior" : `rung ${i + 1}`} ${shown(c)} of which ${shown(sums.loss[i])} lost`,
    );
    attribute(bars, "aria-label", `The cost of each rung, bits: ${said.join("; ")}`);
  }
  function drawGap() {
    const width = sizeOf(gap).width || 600;
    const low = Math.min(sums.elbo, sums.limit - 1.1 * Math.LN2);
    const x = (v) => 6 + ((v - low) / (sums.limit - low)) * (width - 12);
    const [k, l, h] = [x(sums.elbo), x(sums.likelihood), x(sums.limit)];
    const nodes = [
      line(6, 33, width - 6, 33, "dpm-grid"),
      rect("dpm-segment dpm-ink-drift", k, 24, l - k, 18),
      rect("dpm-segment dpm-ink-limit", l, 24, h - l, 18),
      ...[k, l, h].map((px) => line(px, 18, px, 48, "dpm-mark")),
      text(h, 13, "−H(y)", "end"),
    ];
    if (h - l > 52) nodes.push(text(l, 13, "L", "middle"));
    if (l - k > 34) nodes.push(text(k, 13, "ELBO", k < 24 ? "start" : "middle"));
    else nodes.push(text(k, 62, "ELBO", k < 24 ? "start" : k > width - 24 ? "end" : "middle"));
    renew(gap, ...nodes);
    gap.setAttribute(
      "aria-label",
      `ELBO ${shown(sums.elbo)}, L ${shown(sums.likelihood)}, minus H of y ${shown(sums.limit)} bits`,
    );
  }
  figure.draw = () => {
    drawStrings();
    drawBars();
    drawGap();
    detail.textContent =
      `${NAMES[settings.kind]}, N = ${settings.rungs}: ELBO ${shown(sums.elbo)}, L ${shown(sums.likelihood)}, −H(y) ${shown(sums.limit)} bits. ` +
      `The gap of ${shown(sums.limit - sums.elbo)} is slack of the bound ${shown(sums.likelihood - sums.elbo)} + error of the model ${shown(sums.limit - sums.likelihood)}.`;
    const { dataset } = figure.root;
    for (const name of ["elbo", "likelihood", "limit"]) dataset[name] = inBits(sums[name]);
    dataset.path = path.join(" ");
    dataset.kind = settings.kind;
  };

  const kind = figure.chooser({
    label: "Model",
    options: Object.entries(NAMES),
    value: settings.kind,
    set: (v) => (settings.kind = v),
    after: compute,
  });
  const ranges = [
    ["rungs", "Rungs N", 1, 4, 1, String],
    ["error", "Error of the generator", 0, 1, 0.05, (v) => v.toFixed(2)],
    ["coupling", "Coupling of the bits", -1, 1.5, 0.05, (v) => v.toFixed(2)],
  ];
  const sliders = ranges.map(
    ([name, label, min, max, step, format]) =>
      figure.slider({
        label,
        min,
        max,
        step,
        value: settings[name],
        format,
        set: (v) => (settings[name] = v),
        after: compute,
      }).node,
  );
  const data = figure.chooser({
    label: "String y",
    options: Array.from({ length: 2 ** BITS }, (_, i) => [i, word(i, BITS)]),
    value: y,
    set: (v) => {
      y = Number(v);
      path = climb(now, y, uniform);
    },
  });
  const again = button("Forget again", () => (path = climb(now, y, uniform)), figure.redraw);
  const legend = keys({ data: "forgotten by this rung", model: "lost on the way back" });
  figure.add(
    controls(kind, data, again),
    html("div", { class: "dpm-sliders" }, ...sliders),
    title("What each rung knows of y"),
    strings,
    title("What each rung costs, bits"),
    legend,
    bars,
    title("The gap"),
    keys({ drift: "slack of the bound", limit: "error of the model" }),
    gap,
    detail,
  );
  compute();
  return figure.close;
}

export default live(render);
