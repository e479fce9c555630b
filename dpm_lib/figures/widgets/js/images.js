// Pictures un-diffusing: what the chain holds at time t, and what the network then expects, side by side.

import { clamp, html, isCalm, numbers, openFigure } from "./common.js";
import { live } from "./view.js";

const SECONDS = 6; // from noise to picture

/** Where the two runs of frames of each set begin in the bytes: [{ held, expected, frame }], frame in bytes. */
export function places(sets) {
  let start = 0;
  return sets.map(({ n, side, times }) => {
    const frame = n * side * side;
    const place = { held: start, expected: start + frame * times.length, frame };
    start += 2 * frame * times.length;
    return place;
  });
}

/** n square pictures in rows of sqrt(n), one dark pixel between: { size, grey } with grey row by row. */
export function sheetOf(bytes, start, n, side) {
  const columns = Math.round(Math.sqrt(n));
  const size = columns * (side + 1) - 1;
  const grey = new Uint8ClampedArray(size * size);
  for (let k = 0; k < n; k++) {
    const [row, column] = [Math.floor(k / columns) * (side + 1), (k % columns) * (side + 1)];
    for (let i = 0; i < side; i++) {
      for (let j = 0; j < side; j++) grey[(row + i) * size + column + j] = bytes[start + (k * side + i) * side + j];
    }
  }
  return { size, grey };
}

function render({ model, el }) {
  const figure = openFigure(model, el, "images");
  const { root } = figure;
  let sets;
  let bytes;
  let place;
  let [chosen, frame] = [0, 0];
  function read() {
    sets = model.get("sets");
    bytes = numbers(model.get("pictures"), Uint8Array);
    place = places(sets);
  }
  read();

  const sides = [
    ["held", "What the chain holds"],
    ["expected", "What the network expects"],
  ].map(([key, title]) => {
    const canvas = figure.canvas(`${title}: a sheet of pictures`);
    const node = html(
      "div",
      {},
      html("p", { class: "dpm-title" }, title),
      html("div", { class: "dpm-live dpm-sheet" }, canvas),
    );
    return { key, canvas, node };
  });
  const small = document.createElement("canvas");

  function paint({ key, canvas }) {
    const { n, side } = sets[chosen];
    const { size, grey } = sheetOf(bytes, place[chosen][key] + Math.round(frame) * place[chosen].frame, n, side);
    small.width = small.height = size;
    const image = small.getContext("2d").createImageData(size, size);
    grey.forEach((v, i) => image.data.set([v, v, v, 255], 4 * i));
    small.getContext("2d").putImageData(image, 0, 0);
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(small, 0, 0, canvas.width, canvas.height);
  }
  figure.draw = () => {
    for (const one of sides) if (one.canvas.width) paint(one);
    root.dataset.t = sets[chosen].times[Math.round(frame)];
    root.dataset.set = sets[chosen].name;
  };

  const last = () => sets[chosen].times.length - 1;
  const time = figure.slider({
    wide: true,
    label: "Time",
    min: 0,
    max: last(),
    value: 0,
    format: (v) => `t = ${sets[chosen].times[v]}`,
    set: (v) => (frame = v),
  });
  const kind = figure.chooser({
    label: "Pictures",
    options: sets.map(({ name }) => [name, name]),
    value: sets[0].name,
    set: (name) => {
      chosen = sets.findIndex((set) => set.name === name);
      time.range.max = last();
      frame = clamp(frame, 0, last());
      time.set(Math.round(frame));
    },
  });
  const play = figure.playButton((seconds) => {
    frame += (seconds * last()) / SECONDS / (isCalm() ? 2 : 1);
    if (frame >= last()) {
      frame = last();
      play.set(false);
    }
    time.set(Math.round(frame));
    figure.redraw();
  });
  play.button.addEventListener("click", () => {
    if (root.dataset.playing === "true" && frame >= last()) frame = 0;
  });
  figure.add(
    html("div", { class: "dpm-controls" }, play.button, time.node, ...(sets.length > 1 ? [kind.node] : [])),
    html("div", { class: "dpm-twins" }, ...sides.map((one) => one.node)),
  );
  figure.onChange("pictures sets", () => {
    read();
    figure.redraw();
  });
  return figure.close;
}

export default live(render);
