// What training each recipe takes at least: time, price and memory, for GPUs of the reader's choice.

import { clamp, controls, html, openFigure, renew } from "./common.js";
import { live } from "./view.js";

const HOURS = [1 / 3600, 1000]; // the ends of the two axes
const BYTES = [1e6, 1e11];

/** Hours of training: `row` { flop, batch, steps, ... } with flop for one row of data, forward and backward. */
export const hoursOf = ({ flop, batch, steps }, tflops, gpus) => (flop * batch * steps) / (tflops * 1e12 * gpus) / 3600;

/** Bytes on each GPU: { state, kept }, what does not depend on the batch, and its share of the rest. */
export const memoryOf = ({ state, kept, batch }, gpus) => ({ state, kept: kept * Math.ceil(batch / gpus) });

/** Where a value lies on a logarithmic axis, from 0 to 1. */
export const placeOf = (value, [low, high]) => clamp(Math.log(value / low) / Math.log(high / low), 0, 1);

/** Two digits, or all of those before the point. */
export const short = (value) => (value >= 99.5 ? String(Math.round(value)) : String(Number(value.toPrecision(2))));

export function timeText(hours) {
  if (hours < 1 / 60) return `${short(hours * 3600)} s`;
  if (hours < 1) return `${short(hours * 60)} min`;
  return hours < 48 ? `${short(hours)} h` : `${short(hours / 24)} days`;
}

/** "87 + 690 MB", in the unit of the larger. */
export function bytesText({ state, kept }) {
  const [unit, size] = Math.max(state, kept) >= 1e9 ? ["GB", 1e9] : ["MB", 1e6];
  return `${short(state / size)} + ${short(kept / size)} ${unit}`;
}

const MARKS = {
  time: [
    [1 / 60, "min"],
    [1, "h"],
    [24, "day"],
  ].map(([at, words]) => [placeOf(at, HOURS), words]),
  memory: [
    [16, ""],
    [24, "16, 24, 80 GB"],
    [80, ""],
  ].map(([at, words]) => [placeOf(at * 1e9, BYTES), words]),
};

function track(key, part) {
  const marks = MARKS[key].map(([at]) => html("i", { style: `left: ${100 * at}%` }));
  return html(
    "div",
    { class: `dpm-track dpm-${key}`, "aria-hidden": "true" },
    html("b", { style: `width: ${100 * part}%` }),
    ...marks,
  );
}

function scale(key) {
  const words = MARKS[key].map(([at, text]) => html("span", { style: `left: ${100 * at}%` }, text));
  return html("div", { class: `dpm-marks dpm-${key}`, "aria-hidden": "true" }, ...words);
}

function render({ model, el }) {
  const figure = openFigure(model, el, "trainingcost");
  const { root } = figure;
  const groups = model.get("groups");
  let { tflops, gpus, rate } = model.get("start");
  let group = groups[0][0];

  const body = html("tbody");
  const table = html(
    "table",
    { class: "dpm-costs" },
    html(
      "thead",
      {},
      html(
        "tr",
        {},
        html("th", { scope: "col" }, "Recipe"),
        html("th", { scope: "col" }, "Time, and price", scale("time")),
        html("th", { scope: "col" }, "Memory of each: fixed + batch", scale("memory")),
      ),
    ),
    body,
  );
  figure.draw = () => {
    const rows = model.get("rows").filter(({ name }) => groups.find(([key]) => key === group)[1].includes(name));
    renew(
      body,
      ...rows.map((row) => {
        const hours = hoursOf(row, tflops, gpus);
        const memory = memoryOf(row, gpus);
        return html(
          "tr",
          {},
          html("th", { scope: "row" }, row.name.replaceAll("-", "-\u200b")),
          html(
            "td",
            {},
            html("span", {}, timeText(hours)),
            ", ",
            html("span", {}, short(hours * gpus * rate)),
            track("time", placeOf(hours, HOURS)),
          ),
          html("td", {}, bytesText(memory), track("memory", placeOf(memory.state + memory.kept, BYTES))),
        );
      }),
    );
    Object.assign(root.dataset, { tflops, gpus, rate, group });
  };
  const speed = figure.slider({
    label: "Sustained",
    min: -2,
    max: 3,
    step: 0.05,
    value: Math.log10(tflops),
    format: (v) => `${short(10 ** v)} TFLOP/s`,
    set: (v) => (tflops = 10 ** v),
  });
  const count = figure.chooser({ label: "GPUs", options: [1, 2, 4, 8], value: gpus, set: (n) => (gpus = Number(n)) });
  const price = figure.slider({
    label: "A GPU hour costs",
    min: 0,
    max: 10,
    step: 0.1,
    value: rate,
    format: (v) => v.toFixed(1),
    set: (v) => (rate = v),
  });
  const kind = figure.chooser({
    label: "Recipes",
    options: groups.map(([key]) => [key, key]),
    value: group,
    set: (key) => (group = key),
  });
  figure.add(controls(speed, count, price, kind), table);
  figure.onChange("rows", figure.redraw);
  figure.redraw();
  return figure.close;
}

export default live(render);
