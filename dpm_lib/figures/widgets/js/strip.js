// Digits with a strip of columns missing: drag the strip, and see what each method puts there. The draws are precomputed.

import { clamp, controls, draggable, html, numbers, openFigure, title } from "./common.js";
import { live } from "./view.js";

const SIDE = 8;
const LEVELS = 16;

/** The pixels of one draw: a view into bytes of shape (digits, places, draws, 64). */
export const drawOf = (bytes, [, places, draws, pixels], digit, place, k) =>
  bytes.subarray(((digit * places + place) * draws + k) * pixels, ((digit * places + place) * draws + k + 1) * pixels);

/** Mean over draws of the missing pixels' distance from the truth, root mean square, in levels: of single draws. */
export function missing(bytes, shape, truth, digit, place) {
  let sum = 0;
  let count = 0;
  for (let k = 0; k < shape[2]; k++) {
    const draw = drawOf(bytes, shape, digit, place, k);
    for (let i = 0; i < draw.length; i++) {
      if (i % SIDE < place || i % SIDE >= place + SIDE / 2) continue;
      sum += (draw[i] - truth[i]) ** 2;
      count += 1;
    }
  }
  return Math.sqrt(sum / count);
}

function render({ model, el }) {
  const figure = openFigure(model, el, "digits");
  const { root } = figure;
  const shape = model.get("shape");
  const truth = model.get("truth");
  const methods = model.get("methods");
  const size = shape.reduce((a, b) => a * b, 1);
  const all = numbers(model.get("draws"), Uint8Array);
  const bytes = Object.fromEntries(methods.map((name, k) => [name, all.subarray(k * size, (k + 1) * size)]));
  const last = shape[1] - 1;
  let digit = 0;
  let place = 0;
  let method = methods[1] ?? methods[0];

  const pad = figure.canvas();
  pad.removeAttribute("aria-hidden");
  for (const [key, value] of Object.entries({
    class: "dpm-pad",
    role: "slider",
    tabindex: 0,
    "aria-label": "First missing column",
    "aria-valuemin": 1,
    "aria-valuemax": last + 1,
    "aria-orientation": "horizontal",
  }))
    pad.setAttribute(key, value);
  const sheet = Array.from({ length: shape[2] }, (_, k) => figure.canvas(`Draw ${k + 1}`));
  const words = html("p", { class: "dpm-detail" });

  function picture(canvas, pixels, cover) {
    const context = canvas.getContext("2d");
    const side = canvas.width / SIDE;
    const dark = root.dataset.dark === "true";
    for (let i = 0; i < SIDE * SIDE; i++) {
      const ink = pixels[i] / LEVELS;
      const [x, y] = [i % SIDE, Math.floor(i / SIDE)];
      const grey = Math.round(255 * (dark ? 0.09 + 0.85 * ink : 0.98 - 0.93 * ink));
      context.fillStyle = `rgb(${grey}, ${grey}, ${grey})`;
      context.fillRect(Math.floor(x * side), Math.floor(y * side), Math.ceil(side), Math.ceil(side));
    }
    context.strokeStyle = context.fillStyle = figure.colours.model;
    const left = place * side;
    const wide = (SIDE / 2) * side;
    if (cover) {
      context.globalAlpha = 0.97;
      context.fillRect(left, 0, wide, canvas.height);
      context.globalAlpha = 1;
    } else {
      context.lineWidth = 1.5 * devicePixelRatio;
      context.strokeRect(left + 1, 1, wide - 2, canvas.height - 2);
    }
  }
  figure.draw = () => {
    if (pad.width) picture(pad, truth[digit], true);
    sheet.forEach((canvas, k) => canvas.width && picture(canvas, drawOf(bytes[method], shape, digit, place, k), false));
    const far = missing(bytes[method], shape, truth[digit], digit, place);
    words.textContent =
      `Columns ${place + 1} to ${place + SIDE / 2} are missing. ${shape[2]} draws, ${method}: single draws are off the ` +
      `hidden truth by ${far.toFixed(1)} of ${LEVELS} levels there (root mean square).`;
    pad.setAttribute("aria-valuenow", place + 1);
    pad.setAttribute("aria-valuetext", `columns ${place + 1} to ${place + SIDE / 2} missing`);
    Object.assign(root.dataset, { place, digit, method, far });
  };
  function put(next) {
    place = clamp(Math.round(next), 0, last);
    figure.redraw();
  }
  figure.keep("place", () => place, put);
  draggable(pad, {
    keys: { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, Home: -last, End: last },
    step: (by) => put(place + by),
    take: (event) => ({ x: event.clientX, place }),
    drag: (event, held) => put(held.place + ((event.clientX - held.x) * SIDE) / pad.getBoundingClientRect().width),
  });
  const which = figure.chooser({
    label: "Digit",
    options: truth.map((_, k) => [k, `no. ${k + 1}`]),
    value: 0,
    set: (value) => (digit = Number(value)),
  });
  const how = figure.chooser({ label: "Method", options: methods, value: method, set: (value) => (method = value) });
  figure.add(
    html(
      "div",
      { class: "dpm-stage" },
      html("div", {}, title("What is seen", " drag the strip, or use the arrow keys"), pad),
      html("div", { class: "dpm-panel" }, controls(which, how), html("div", { class: "dpm-sheet" }, ...sheet), words),
    ),
  );
  return figure.close;
}

export default live(render);
