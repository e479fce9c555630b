// Strings of bits, one a row: data flipping beside the model un-flipping, over one time slider.

import { flipped, isHeartbeat, readLayers, thinned, unflipped } from "./bits.js";
import { button, clamp, cleared, controls, html, isCalm, numbers, openFigure, uniforms } from "./common.js";
import { live } from "./view.js";

const ROWS = 40;
const SECONDS = 4; // from data to noise

function render({ model, el }) {
  const figure = openFigure(model, el, "heartbeat");
  const { root, colours } = figure;
  let tau;
  let net;
  let d;
  let period;
  let levels;
  let data;
  let drawn;
  let t = 0;
  let direction = 1;
  let seed = 1;

  function read() {
    [d, period] = [model.get("length"), model.get("period")];
    tau = [0, ...Array.from(numbers(model.get("log_tau"), Float64Array), Math.exp)];
    net = {
      layers: readLayers(numbers(model.get("weights"), Float32Array), model.get("shapes")),
      frequencies: model.get("frequencies"),
    };
  }
  function draw(count) {
    levels = thinned(tau, count);
    const uniform = uniforms(seed);
    const phases = Array.from({ length: ROWS }, () => Math.floor(uniform() * period));
    data = flipped(
      phases.flatMap((phase) => Array.from({ length: d }, (_, i) => (i % period === phase ? 1 : 0))),
      levels,
      uniform,
    );
    drawn = unflipped(ROWS, d, levels, net, uniform);
    t = clamp(t, 0, count);
  }

  const rasters = ["data", "model"].map((key) => {
    const canvas = figure.canvas(
      key === "data" ? "Data flipping, one string a row" : "The model un-flipping, one string a row",
    );
    const words = html("p", { class: "dpm-detail" });
    const title = key === "data" ? "Data flipping" : "Model un-flipping";
    const node = html(
      "div",
      { class: "dpm-raster" },
      html("p", { class: `dpm-title dpm-side-${key}` }, title),
      html("div", { class: "dpm-live" }, canvas),
      words,
    );
    return { key, canvas, words, node };
  });

  function paint({ key, canvas, words }, x) {
    const context = cleared(canvas, colours.panel);
    const cell = canvas.width / (d + 1.2);
    const height = canvas.height / ROWS;
    let whole = 0;
    for (let k = 0; k < ROWS; k++) {
      const beats = isHeartbeat(x, k, d, period);
      whole += beats;
      context.fillStyle = beats ? colours[key] : colours.muted;
      for (let i = 0; i < d; i++) {
        if (x[k * d + i]) context.fillRect(i * cell + 0.06 * cell, (k + 0.1) * height, 0.88 * cell, 0.8 * height);
      }
      if (beats) context.fillRect((d + 0.4) * cell, (k + 0.3) * height, 0.5 * cell, 0.4 * height);
    }
    words.textContent = `${whole} of ${ROWS} are heartbeats`;
    root.dataset[key] = whole;
  }
  figure.draw = () => {
    const states = { data, model: drawn };
    for (const raster of rasters) if (raster.canvas.width) paint(raster, states[raster.key][Math.round(t)]);
    root.dataset.t = Math.round(t);
  };

  const counts = model.get("steps");
  let count = counts.at(-1);
  let time = null;
  read();
  draw(count);
  time = figure.slider({
    wide: true,
    label: "Time",
    min: 0,
    max: count,
    value: 0,
    format: (v) => `t = ${v} of ${count}`,
    set: (v) => {
      t = v;
      direction = v >= count ? -1 : v <= 0 ? 1 : direction;
    },
  });
  function restart() {
    draw(count);
    time.range.max = count;
    time.set(t);
    figure.redraw();
  }
  const steps = figure.chooser({
    label: "Steps T",
    options: counts.map((c) => [String(c), String(c)]),
    value: String(count),
    set: (value) => {
      const place = t / count;
      count = Number(value);
      time.range.max = count;
      t = Math.round(place * count);
    },
    after: restart,
  });
  const play = figure.playButton((seconds) => {
    t = clamp(t + (direction * seconds * (count / SECONDS)) / (isCalm() ? 2 : 1), 0, count);
    if (t === (direction > 0 ? count : 0)) direction = -direction;
    time.set(Math.round(t));
    figure.redraw();
  });
  const again = button("New draws", () => (seed += 1), restart);
  figure.add(
    controls(play, time),
    html("div", { class: "dpm-pair" }, ...rasters.map((raster) => raster.node)),
    controls(steps, again),
  );
  figure.onChange("weights log_tau", () => {
    read();
    restart();
  });
  return figure.close;
}

export default live(render);
