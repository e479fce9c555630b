// The book's network, forward and backward: dpm_lib.networks.mlp.MLP, in float32, a block of rows at a time.

import { openProducts } from "./training_products.js";

/**
 * The network of `sizes`: { dim, outputs, width, depth, frequencies }, with all that it needs in one memory.
 *
 * `weights` and `slopes` (of the loss) are one after the other: the projection (dim, frequencies), and for each layer its
 * matrix, transposed to (inputs, outputs), and its bias; inputs and outputs are filled up with zeros to multiples of 8.
 * A block is at most `rows` points: the caller fills `x` and `phases` (log tau of each row), calls `forward(count)`, reads
 * `out`, writes the loss's slopes into `out`, and calls `backward(count)`, which adds to `slopes`, and leaves those of each
 * row in `x` and `phases`.
 */
export function openNetwork({ dim, outputs, width, depth, frequencies }, { rows = 128, wasm = true } = {}) {
  const filled = (n) => 8 * Math.ceil(n / 8);
  const TIMES = 4;
  const timeFrequencies = Array.from({ length: TIMES }, (_, j) => 0.25 * 2 ** j);
  const inputs = dim + 2 * frequencies + 2 * TIMES;
  const sizes = [inputs, ...Array(depth).fill(width), outputs].map(filled);
  const used = [inputs, ...Array(depth).fill(width), outputs];

  let end = 0;
  const take = (count) => {
    const at = end;
    end += 4 * Math.ceil(count / 4);
    return at;
  };
  const projection = take(dim * frequencies);
  const layers = sizes.slice(1).map((size, l) => ({ matrix: take(sizes[l] * size), bias: take(size) }));
  const count = end;
  const slopesAt = take(count);
  const turned = sizes.slice(1).map((size, l) => take(sizes[l] * size));
  const states = sizes.map((size) => take(rows * size));
  const rates = sizes.map((size) => take(rows * size)); // silu's slope at each state; the last are slopes of the loss
  const zs = take(Math.max(rows, 4) * Math.max(...sizes));
  const nothing = take(Math.max(...sizes));
  const ones = take(rows);
  const { numbers, product, silu, times, wasm: fast } = openProducts(end, wasm);
  numbers.fill(1, ones, ones + rows);

  const part = (at, length) => numbers.subarray(at, at + length);
  const weights = part(0, count);
  const slopes = part(slopesAt, count);
  const x = new Float64Array(rows * dim);
  const phases = new Float64Array(rows);
  const last = sizes.length - 1;
  const out = part(states[last], rows * sizes[last]);
  const [first, wide] = [sizes[0], sizes[last]];

  function features(n) {
    for (let i = 0; i < n; i++) {
      let at = states[0] + i * first;
      for (let d = 0; d < dim; d++) numbers[at + d] = x[i * dim + d];
      for (let f = 0; f < frequencies; f++) {
        let angle = 0;
        for (let d = 0; d < dim; d++) angle += x[i * dim + d] * numbers[projection + d * frequencies + f];
        numbers[at + dim + f] = Math.sin(angle);
        numbers[at + dim + frequencies + f] = Math.cos(angle);
      }
      at += dim + 2 * frequencies;
      for (let j = 0; j < TIMES; j++) {
        const repeated = i > 0 && phases[i] === phases[i - 1]; // rows of one time stand together
        numbers[at + j] = repeated ? numbers[at + j - first] : Math.sin(phases[i] * timeFrequencies[j]);
        numbers[at + TIMES + j] = repeated ? numbers[at + TIMES + j - first] : Math.cos(phases[i] * timeFrequencies[j]);
      }
    }
    const over = 4 * Math.ceil(n / 4);
    numbers.fill(0, states[0] + n * first, states[0] + over * first);
    return over;
  }
  function forward(n) {
    const m = features(n);
    for (let l = 0; l < last; l++) {
      const { matrix, bias } = layers[l];
      const [k, size] = [sizes[l], sizes[l + 1]];
      const to = l + 1 === last ? states[last] : zs;
      product(4 * states[l], 4 * k, 4, 4 * matrix, 4 * size, 4 * bias, 0, 4 * to, 4 * size, m, size, k);
      if (l + 1 < last) silu(4 * zs, 4 * states[l + 1], 4 * rates[l + 1], m * size);
    }
  }
  /** Turns the matrices for `backward`: once after each change of the weights. */
  function turn() {
    for (let l = 0; l < last; l++) {
      const [rowsOf, columns] = [sizes[l], sizes[l + 1]];
      for (let i = 0; i < rowsOf; i++) {
        for (let j = 0; j < columns; j++)
          numbers[turned[l] + j * rowsOf + i] = numbers[layers[l].matrix + i * columns + j];
      }
    }
  }
  function backward(n) {
    const m = 4 * Math.ceil(n / 4);
    out.fill(0, n * wide, m * wide);
    numbers.copyWithin(rates[last], states[last], states[last] + m * wide);
    for (let l = last - 1; l >= 0; l--) {
      const [k, size] = [sizes[l], sizes[l + 1]];
      const [from, to] = [4 * rates[l + 1], 4 * rates[l]];
      const matrix = 4 * (slopesAt + layers[l].matrix);
      const bias = 4 * (slopesAt + layers[l].bias);
      product(4 * states[l], 4, 4 * k, from, 4 * size, matrix, 4 * size, matrix, 4 * size, k, size, m);
      product(4 * ones, 0, 4, from, 4 * size, bias, 0, 4 * zs, 4 * size, 4, size, m); // four times the same row
      numbers.copyWithin(bias / 4, zs, zs + size);
      product(from, 4 * size, 4, 4 * turned[l], 4 * k, 4 * nothing, 0, 4 * zs, 4 * k, m, k, size);
      if (l > 0) times(4 * zs, to, to, m * k);
    }
    for (let i = 0; i < n; i++) {
      const [at, by] = [states[0] + i * first, zs + i * first];
      const place = [x[i * dim], x[i * dim + 1]];
      for (let d = 0; d < dim; d++) x[i * dim + d] = numbers[by + d];
      for (let f = 0; f < frequencies; f++) {
        const [s, c] = [dim + f, dim + frequencies + f];
        const angle = numbers[at + c] * numbers[by + s] - numbers[at + s] * numbers[by + c];
        for (let d = 0; d < dim; d++) {
          numbers[slopesAt + projection + d * frequencies + f] += place[d] * angle;
          x[i * dim + d] += angle * numbers[projection + d * frequencies + f];
        }
      }
      let phase = 0;
      const t = dim + 2 * frequencies;
      for (let j = 0; j < TIMES; j++) {
        const [s, c] = [t + j, t + TIMES + j];
        phase += timeFrequencies[j] * (numbers[at + c] * numbers[by + s] - numbers[at + s] * numbers[by + c]);
      }
      phases[i] = phase;
    }
  }

  /** Weights as at the start of dpm_lib's: normal, of variance 1 / inputs; the last layer zero. */
  function reset(normal, scale = 4) {
    weights.fill(0);
    for (let i = 0; i < dim * frequencies; i++) weights[i] = scale * normal();
    for (let l = 0; l < last - 1; l++) {
      for (let i = 0; i < used[l]; i++) {
        for (let j = 0; j < used[l + 1]; j++) {
          weights[layers[l].matrix + i * sizes[l + 1] + j] = normal() / Math.sqrt(used[l]);
        }
      }
    }
  }
  /** { name: { shape, values } } as dpm_lib's network calls them, of `from`, laid out as `weights`. */
  function named(from = weights) {
    const tensors = { projection: { shape: [dim, frequencies], values: from.slice(0, dim * frequencies) } };
    tensors.time_frequencies = { shape: [TIMES], values: Float32Array.from(timeFrequencies) };
    layers.forEach(({ matrix, bias }, l) => {
      const [a, b, columns] = [used[l], used[l + 1], sizes[l + 1]];
      const values = new Float32Array(a * b);
      for (let i = 0; i < a; i++) for (let j = 0; j < b; j++) values[j * a + i] = from[matrix + i * columns + j];
      tensors[`layers.${l}.weight`] = { shape: [b, a], values };
      tensors[`layers.${l}.bias`] = { shape: [b], values: from.slice(bias, bias + b) };
    });
    return tensors;
  }
  /** The way back: fills `weights` from tensors; what they lack, or have in other sizes, is zero. */
  function fill(tensors) {
    weights.fill(0);
    weights.set(tensors.projection.slice(0, dim * frequencies), 0);
    layers.forEach(({ matrix, bias }, l) => {
      const [a, b, columns] = [used[l], used[l + 1], sizes[l + 1]];
      const [values, offsets] = [tensors[`layers.${l}.weight`], tensors[`layers.${l}.bias`]];
      for (let j = 0; j < Math.min(b, offsets.length); j++) {
        weights[bias + j] = offsets[j];
        for (let i = 0; i < a; i++) weights[matrix + i * columns + j] = values[j * a + i];
      }
    });
  }
  const shape = { dim, outputs, width, depth, frequencies };
  return {
    ...{ shape, rows, wide, x, phases, out, weights, slopes, fast },
    forward,
    backward,
    turn,
    reset,
    named,
    fill,
  };
}
