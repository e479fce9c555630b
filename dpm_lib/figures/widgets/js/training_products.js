// Matrix products for training in the page: WebAssembly with SIMD, assembled here, or plain JavaScript that does the same.
//
// These functions run in a worker, which is made of their text (training_worker.js): each stands by itself, and what it
// calls is another function of that list.

/** The bytes of a WebAssembly module that imports a memory and exports `product`, `silu` and `times`. */
export function assembleProducts() {
  const unsigned = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...unsigned(n >>> 7)]);
  const signed = (n) => (n >= -64 && n < 64 ? [n & 127] : [(n & 127) | 128, ...signed(n >> 7)]);
  const sized = (bytes) => [...unsigned(bytes.length), ...bytes];
  const listed = (items) => [...unsigned(items.length), ...items.flat()];
  const section = (id, items) => [id, ...sized(listed(items))];
  const name = (word) => sized([...word].map((c) => c.charCodeAt(0)));
  const [I32, V128] = [0x7f, 0x7b];

  const get = (i) => [0x20, ...unsigned(i)];
  const set = (i, ...value) => [...value.flat(), 0x21, ...unsigned(i)];
  const whole = (n) => [0x41, ...signed(n)];
  const add = (p, q) => [...p, ...q, 0x6a];
  const grow = (i, by) => set(i, add(get(i), by));
  const simd = (code, ...operands) => [...operands.flat(), 0xfd, ...unsigned(code)];
  const load = (address, offset = 0) => [...address, 0xfd, 0x00, 2, ...unsigned(offset)];
  const spread = (address) => [...address, 0xfd, 0x09, 2, 0];
  const store = (address, value, offset = 0) => [...address, ...value, 0xfd, 0x0b, 2, ...unsigned(offset)];
  const four = (x) => [0x43, ...new Uint8Array(Float32Array.of(x).buffer), 0xfd, 0x13];
  const fourWhole = (n) => [...whole(n), 0xfd, 0x11];
  const plus = (p, q) => simd(0xe4, p, q);
  const minus = (p, q) => simd(0xe5, p, q);
  const mul = (p, q) => simd(0xe6, p, q);
  const over = (p, q) => simd(0xe7, p, q);
  /** Repeats until `counter`, less `by` each time, is not positive; not even once where it is none. */
  const repeat = (counter, by, ...body) => {
    const again = [...set(counter, add(get(counter), whole(-by))), ...get(counter), ...whole(0), 0x4a, 0x0d, 0];
    return [0x02, 0x40, ...get(counter), ...whole(0), 0x4c, 0x0d, 0, 0x03, 0x40, ...body.flat(), ...again, 0x0b, 0x0b];
  };

  // product(a, aRow, aInner, b, bRow, start, startRow, c, cRow, m, n, k): C = start + A B, four rows by eight columns
  // at a time; addresses and strides in bytes.
  const [a, aRow, aInner, b, bRow, start, startRow, c, cRow, m, n, k] = Array.from({ length: 12 }, (_, i) => i);
  const [columns, inner, bAt, column] = [12, 13, 14, 15];
  const aAt = [16, 17, 18, 19];
  const [b0, b1, left] = [20, 21, 22];
  const sums = [0, 1, 2, 3].map((r) => [23 + 2 * r, 24 + 2 * r]);
  const rowOf = (base, stride, r) => (r ? add(rowOf(base, stride, r - 1), get(stride)) : get(base));
  const places = (base, stride) => [0, 1, 2, 3].map((r) => add(rowOf(base, stride, r), get(column)));
  const product = repeat(
    m,
    4,
    set(columns, get(n)),
    set(column, whole(0)),
    repeat(
      columns,
      8,
      places(start, startRow).flatMap((at, r) => [0, 1].flatMap((h) => set(sums[r][h], load(at, 16 * h)))),
      aAt.flatMap((at, r) => set(at, rowOf(a, aRow, r))),
      set(bAt, add(get(b), get(column))),
      set(inner, get(k)),
      repeat(
        inner,
        1,
        set(b0, load(get(bAt))),
        set(b1, load(get(bAt), 16)),
        aAt.flatMap((at, r) => [
          ...set(left, spread(get(at))),
          ...[b0, b1].flatMap((half, h) => set(sums[r][h], plus(get(sums[r][h]), mul(get(left), get(half))))),
          ...grow(at, get(aInner)),
        ]),
        grow(bAt, get(bRow)),
      ),
      places(c, cRow).flatMap((at, r) => [0, 1].flatMap((h) => store(at, get(sums[r][h]), 16 * h))),
      grow(column, whole(32)),
    ),
    [aRow, startRow, cRow].flatMap((stride, i) => {
      const base = [a, start, c][i];
      return [0, 1, 2, 3].flatMap(() => grow(base, get(stride)));
    }),
  );

  // silu(z, h, slope, count): h = z s and slope = s + h (1 - s), with s = 1 / (1 + e^-z); e^x as in Cephes' expf.
  const [z, power, rest, sum, s] = [4, 5, 6, 7, 8];
  const series = [1.98756915e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5];
  const horner = series.slice(1).reduce((value, next) => plus(mul(value, get(rest)), four(next)), four(series[0]));
  const silu = repeat(
    3,
    4,
    set(z, load(get(0))),
    set(rest, simd(0xe8, simd(0xe9, simd(0xe1, get(z)), four(-87)), four(87))),
    set(power, simd(0x6a, mul(get(rest), four(Math.LOG2E)))),
    set(rest, minus(get(rest), mul(get(power), four(0.693359375)))),
    set(rest, plus(get(rest), mul(get(power), four(2.1219444e-4)))),
    set(sum, plus(plus(mul(horner, mul(get(rest), get(rest))), get(rest)), four(1))),
    set(power, [...simd(0xae, simd(0xf8, get(power)), fourWhole(127)), ...whole(23), 0xfd, ...unsigned(0xab)]),
    set(s, over(four(1), plus(four(1), mul(get(sum), get(power))))),
    set(z, mul(get(z), get(s))),
    store(get(1), get(z)),
    store(get(2), plus(get(s), mul(get(z), minus(four(1), get(s))))),
    [0, 1, 2].flatMap((at) => grow(at, whole(16))),
  );

  // times(a, b, c, count): c = a b, number by number.
  const times = repeat(
    3,
    4,
    store(get(2), mul(load(get(0)), load(get(1)))),
    [0, 1, 2].flatMap((at) => grow(at, whole(16))),
  );

  const kind = (count) => [0x60, ...listed(Array(count).fill([I32])), 0];
  const code = (locals, body) => sized([...listed(locals), ...body, 0x0b]);
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [kind(12), kind(4)]),
    ...section(2, [[...name("page"), ...name("memory"), 2, 0, 1]]),
    ...section(3, [[0], [1], [1]]),
    ...section(
      7,
      ["product", "silu", "times"].map((word, i) => [...name(word), 0, i]),
    ),
    ...section(10, [
      code(
        [
          [8, I32],
          [11, V128],
        ],
        product,
      ),
      code([[5, V128]], silu),
      code([], times),
    ]),
  ]);
}

/** The same three functions in JavaScript, on the same memory. */
export function plainProducts(numbers) {
  return {
    product(a, aRow, aInner, b, bRow, start, startRow, c, cRow, m, n, k) {
      const sums = new Float64Array(n);
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) sums[j] = numbers[(start + i * startRow) / 4 + j];
        for (let l = 0; l < k; l++) {
          const left = numbers[(a + i * aRow + l * aInner) / 4];
          if (left === 0) continue;
          const at = (b + l * bRow) / 4;
          for (let j = 0; j < n; j++) sums[j] += left * numbers[at + j];
        }
        for (let j = 0; j < n; j++) numbers[(c + i * cRow) / 4 + j] = sums[j];
      }
    },
    silu(z, h, slope, count) {
      for (let i = 0; i < count; i++) {
        const value = numbers[z / 4 + i];
        const s = 1 / (1 + Math.exp(-value));
        numbers[h / 4 + i] = value * s;
        numbers[slope / 4 + i] = s + value * s * (1 - s);
      }
    },
    times(a, b, c, count) {
      for (let i = 0; i < count; i++) numbers[c / 4 + i] = numbers[a / 4 + i] * numbers[b / 4 + i];
    },
  };
}

/**
 * Memory for `size` float32 numbers, and the products on it: { numbers, product, silu, times, wasm }. Sizes m are multiples
 * of 4 and n of 8, counts of 4. `wasm` says whether WebAssembly does it: not where it has no SIMD, or is not wanted.
 */
export function openProducts(size, wanted = true) {
  if (wanted) {
    try {
      const memory = new WebAssembly.Memory({ initial: Math.ceil((4 * size) / 65536) });
      const compiled = new WebAssembly.Module(assembleProducts());
      const made = new WebAssembly.Instance(compiled, { page: { memory } });
      return { numbers: new Float32Array(memory.buffer), ...made.exports, wasm: true };
    } catch {} // no WebAssembly, no SIMD, or a page that forbids it
  }
  const numbers = new Float32Array(size);
  return { numbers, ...plainProducts(numbers), wasm: false };
}
