"""The figure that fills gaps in a text: the network in the page against torch, and what a reader does."""

import itertools

import numpy as np
import pytest
import torch
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import TextUnmasking
from dpm_lib.networks.text_network import TextNetwork

ALPHABET = "\n abcdefg."
S, WIDTH = len(ALPHABET), 8


def network(depth=3):
    """A small network whose numbers are all random, and fit into half precision."""
    generator = torch.Generator().manual_seed(0)
    made = TextNetwork(S, WIDTH, depth, generator=generator).requires_grad_(False)
    for parameter in made.parameters():
        parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
        parameter.copy_(parameter.half())
    return made


def tensors(depth=3):
    return network(depth).state_dict()


FORWARD = """(m, a) => {
  const net = m.readNetwork(a.weights, a.shapes);
  const steps = m.logitsOf(net, a.x);
  let count = 0;
  for (;;) {
    const { value, done } = steps.next();
    if (done) return [Array.from(value), count, m.chancesAt(value, 2, net.S)];
    count++;
  }
}"""


def test_logits_are_torchs(js):
    net = network(depth=6)  # the sixth layer is dilated as the first
    figure = TextUnmasking(net.state_dict(), ALPHABET, "a_b")
    x = np.random.default_rng(1).integers(0, S + 1, 70)
    weights = np.frombuffer(figure.weights, "<i2")
    found, pauses, chances = js("textnet.js", FORWARD, {"weights": weights, "shapes": figure.shapes, "x": x.tolist()})
    wanted = net.double()(torch.from_numpy(x)[None])[0]
    np.testing.assert_allclose(np.reshape(found, (70, S)), wanted, atol=1e-4)
    np.testing.assert_allclose(chances, wanted[2].softmax(0), atol=1e-5)
    assert pauses >= 6 * 70 / 8, "the page has to breathe"


def test_a_string_that_differs_a_little_is_computed_as_if_anew(js):
    """Also after a computation that was dropped on the way, and for the places asked for alone."""
    code = """(m, a) => {
      const net = m.readNetwork(a.weights, a.shapes);
      const run = (steps) => { for (;;) { const { value, done } = steps.next(); if (done) return Array.from(value); } };
      const memory = {};
      const rows = [];
      for (const [x, places] of a.strings) {
        const other = x.map((v, i) => (i === 25 ? (v + 1) % net.S : v));
        const dropped = m.logitsOf(net, other, places, memory);
        for (let k = 0; k < 9 && rows.length % 2; k++) dropped.next();
        const fresh = run(m.logitsOf(net, x));
        rows.push([run(m.logitsOf(net, x, places, memory)), fresh]);
      }
      return rows;
    }"""
    figure = TextUnmasking(tensors(depth=4), ALPHABET, "a_b")
    rng = np.random.default_rng(2)
    x, strings = rng.integers(0, S + 1, 50), []
    for _ in range(6):
        x = x.copy()
        x[rng.integers(50)] = rng.integers(S + 1)
        strings.append([x.tolist(), sorted(rng.choice(50, 7, replace=False).tolist())])
    weights = np.frombuffer(figure.weights, "<i2")
    rows = js("textnet.js", code, {"weights": weights, "shapes": figure.shapes, "strings": strings})
    for (_, places), (kept, fresh) in zip(strings, rows, strict=True):
        kept, fresh = np.reshape(kept, (50, S)), np.reshape(fresh, (50, S))
        np.testing.assert_array_equal(kept[places], fresh[places])
        assert np.abs(fresh[places]).min() > 0 and not np.delete(kept, places, 0).any()


def test_half_precision_is_read(js):
    bits = np.array([0, 0x8000, 1, 0x3FF, 0x400, 0x3C00, 0xC000, 0x7BFF, 0x3555, 0x7C00], dtype="<u2")
    found = js("textnet.js", "(m, bits) => bits.map((b) => { const v = m.half(b); return v === Infinity ? -1 : v; })",
               bits.tolist())  # fmt: skip
    np.testing.assert_array_equal(found[:-1], bits[:-1].view("<f2").astype(float))
    assert found[-1] == -1


def test_weights_that_do_not_fit_are_refused(js):
    figure = TextUnmasking(tensors(), ALPHABET, "a_b")
    weights = np.frombuffer(figure.weights, "<i2")[:-1]
    code = "(m, a) => { try { m.readNetwork(a.weights, a.shapes); } catch (error) { return error.message; } }"
    assert "numbers where the shapes need" in js("textnet.js", code, {"weights": weights, "shapes": figure.shapes})


def test_gaps_are_taken_in_the_order_asked_for(js):
    code = """(m, a) => {
      let place = 0;
      const sure = new Map([[2, 0.5], [5, 0.9], [7, 0.5], [8, 0.7]]);
      const next = (order) => m.nextGaps([2, 5, 7, 8], sure, 2, order, () => a[place++]);
      return [next("left"), next("confidence"), ...Array.from({ length: 300 }, () => next("random"))];
    }"""
    left, sure, *random = js("textunmasking.js", code, np.random.default_rng(0).random(2000).tolist())
    assert (left, sure) == ([2, 5], [5, 8])
    pairs = list(itertools.permutations([2, 5, 7, 8], 2))
    counts = [random.count(list(pair)) for pair in pairs]
    assert sum(counts) == 300 and min(counts) > 8, counts


def test_a_text_is_read_and_what_it_may_not_hold_is_named(js):
    code = "(m, a) => m.parsed(a, [...' ab'])"
    assert js("textunmasking.js", code, "A_b<É É") == {"tokens": [1, 3, 2, 0], "strange": ["<", "É"]}
    assert len(js("textunmasking.js", code, "ab" * 200)["tokens"]) == 160


def test_a_reader_fills_gaps(page, write_page):
    net = network()
    open_figures(page, write_page, TextUnmasking(net.state_dict(), ALPHABET, "a__b. ____c", k=4))
    assert (data(page, "gaps"), data(page, "filled"), data(page, "calls")) == ("6", "0", "0")
    assert page.locator(".dpm-gap").count() == 6
    page.get_by_role("button", name="Fill at once").click()
    settle(page)
    assert (data(page, "filled"), data(page, "calls")) == ("6", "2"), "four, and two"
    filled = data(page, "text")
    assert len(filled) == 11 and set(filled) <= set(ALPHABET)
    assert (filled[0], filled[3:6], filled[10]) == ("a", "b. ", "c")
    page.get_by_role("button", name="Empty them").click()
    field = page.get_by_role("textbox", name="Your text")
    field.fill("A<b>_É")
    settle(page)
    assert data(page, "text") == "ab_"
    assert "“<” “>” “É”" in page.locator(".dpm-figure").inner_text()
    x = torch.tensor([ALPHABET.index("a"), ALPHABET.index("b"), S])
    best = ALPHABET[int(net(x[None])[0, 2].argmax())].replace(" ", "␣").replace("\n", "↵")
    assert page.locator(".dpm-letters .dpm-token").first.text_content() == best
    drawn = []
    page.get_by_role("combobox", name="Order").select_option("left")
    for _ in range(12):
        page.get_by_role("button", name="Fill at once").click()
        settle(page)
        drawn.append(data(page, "text")[2])
    assert len(set(drawn)) > 1, "draws differ"
    page.get_by_role("slider", name="Characters at once").press("Home")
    field.fill("_bc_")
    settle(page)
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => document.querySelector('.dpm-figure').dataset.calls === '1'")
    page.get_by_role("button", name="Pause").click()
    settle(page)
    assert data(page, "filled") == "1" and page.locator(".dpm-newest").count() == 1
    field.fill("abc")
    settle(page)
    page.get_by_role("button", name="Fill at once").click()
    settle(page)
    assert (data(page, "gaps"), data(page, "calls"), data(page, "text")) == ("0", "0", "abc")


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: TextUnmasking(tensors(), "abca", "a"), "alphabet: 'abca': need two characters or more, all different"),
        (lambda: TextUnmasking(tensors(), "ab_", "a"), "without '_'"),
        (lambda: TextUnmasking(tensors(), ALPHABET, "xé a"), "text: 'x', 'é': need characters of the alphabet"),
        (lambda: TextUnmasking(tensors(), ALPHABET, ""), "text: 0 characters: need 1 to 160"),
        (lambda: TextUnmasking(tensors(), ALPHABET, "a" * 161), "text: 161 characters: need 1 to 160"),
        (lambda: TextUnmasking(tensors(), ALPHABET, "a", k=17), "k: 17: need at most 16"),
        (lambda: TextUnmasking(tensors(), ALPHABET, "a", order="x"), "order: 'x': need one of"),
        (lambda: TextUnmasking(tensors(), ALPHABET[:-1], "a"), r"tensors, letters: need shape \(10, width\)"),
        (lambda: TextUnmasking({}, ALPHABET, "a"), "tensors: no 'letters'"),
        (lambda: TextUnmasking({"letters": np.ones((S + 1, 2))}, ALPHABET, "a"), "tensors: layers: 0: need at least 1"),
        (
            lambda: TextUnmasking({**tensors(), "layers.1.say.bias": torch.zeros(3)}, ALPHABET, "a"),
            r"tensors, layers.1.say.bias: need shape \(8\), got \(3,\)",
        ),
    ],
)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()
