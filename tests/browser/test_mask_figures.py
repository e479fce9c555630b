"""The figures of the chapter on masks and jumps: the page's numbers against exact enumeration, and the controls."""

from itertools import combinations, product

import numpy as np
import pytest
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import MaskedEntropy, MaskedString, ParallelDecoding
from dpm_lib.figures.widgets.masks import LAWS, packed, small_laws, staircase

LEFT = 0.01  # of the signal at t = 1, by the uniform kernel


def law_of(name):
    return packed(name, *small_laws()[name])


def page_law(joint):
    """A law as the page's functions take it."""
    joint = np.asarray(joint)
    rows = np.argwhere(joint > 0).tolist()
    return {"rows": rows, "chances": joint[joint > 0].tolist(), "d": joint.ndim, "S": joint.shape[0]}


def token_kernel(kind, S, t):
    """(S + 1, S + 1): a token's chances at t, mask last, given it at 0."""
    K = np.zeros((S + 1, S + 1))
    if kind == "mask":
        K[:S, :S], K[:, S] = (1 - t) * np.eye(S), t
        K[S, S] = 1
    else:
        kept = 1 - (1 - LEFT) * t
        K[:S, :S] = kept * np.eye(S) + (1 - kept) / S
    return K


def law_at(joint, kind, t):
    """p_t over all strings of S + 1 tokens: the token's kernel applied to each axis."""
    S = joint.shape[0]
    table = np.pad(joint, [(0, 1)] * joint.ndim)
    for axis in range(joint.ndim):
        table = np.moveaxis(np.tensordot(table, token_kernel(kind, S, t), axes=(axis, 0)), -1, axis)
    return table


def token_rates(kind, S, t):
    """Q of one token at t, from the derivative of its kernel: dK/dt = K Q."""
    h = 1e-6
    K = token_kernel(kind, S, t)
    slope = (token_kernel(kind, S, t + h) - token_kernel(kind, S, t - h)) / (2 * h)
    live = slice(0, S + (kind == "mask"))
    Q = np.zeros((S + 1, S + 1))
    Q[live, live] = np.linalg.solve(K[live, live], slope[live, live])
    return Q


RATES = """(m, a) => {
  const { law } = a;
  return a.states.map((state) => [
    m.chanceAt(law, m.KERNELS[a.kind], state, a.t),
    m.forwardRates(law, m.KERNELS[a.kind], state, a.t),
    m.reversedRates(law, m.KERNELS[a.kind], state, a.t),
  ]);
}"""


@pytest.mark.parametrize("kind", ["mask", "uniform"])
@pytest.mark.parametrize("name", ["sixteen words", "sticky bits"])
def test_the_rates_back_are_q_ji_p_j_over_p_i(js, name, kind):
    joint, t = small_laws()[name][0], 0.3
    S, d = joint.shape[0], joint.ndim
    table, Q = law_at(joint, kind, t), token_rates(kind, S, t)
    possible = np.argwhere(table > 0)
    states = possible[np.random.default_rng(0).choice(len(possible), 12)].tolist()
    found = js("stringjumps.js", RATES, {"law": page_law(joint), "states": states, "t": t, "kind": kind})
    for state, (chance, there, back) in zip(states, found, strict=True):
        assert chance == pytest.approx(table[tuple(state)], rel=1e-12)
        for i in range(d):
            for v in range(S + 1):
                if v == state[i]:
                    continue
                other = tuple(v if j == i else token for j, token in enumerate(state))
                assert there[i][v] == pytest.approx(Q[state[i], v], abs=1e-6)
                assert back[i][v] == pytest.approx(Q[v, state[i]] * table[other] / table[tuple(state)], abs=1e-6)
    if kind == "mask":  # to rounding: the others' rates are differences
        for state, (_, _, back) in zip(states, found, strict=True):
            masked = [i for i in range(d) if state[i] == S]
            np.testing.assert_allclose([sum(back[i]) for i in masked], 1 / t, rtol=1e-12)


PATHS = """(m, a) => {
  let place = 0;
  return Array.from({ length: a.count }, () => {
    const { there, back } = m.thereAndBack(a.law, m.KERNELS[a.kind], () => a.uniforms[place++], 60);
    const half = m.stringAt(back, 0.5, true);
    return [m.stringAt(there, 0.5), half, back.end, there.events.length, m.handsAt(back, 0.5, true)];
  });
}"""
SHORT = np.array([[0.4, 0.0], [0.15, 0.45]])  # two tokens: its law at t = 1/2 has few strings


@pytest.mark.parametrize("kind", ["mask", "uniform"])
def test_paths_there_and_back_have_the_law_at_each_time(js, kind):
    """Chi-square of 300 paths: at t = 1/2 on both ways, and at the end, where the data's law is back."""
    count = 300
    uniforms = np.random.default_rng(0).random(100 * count)
    arguments = {"law": page_law(SHORT), "kind": kind, "count": count, "uniforms": uniforms}
    rows = js("stringjumps.js", PATHS, arguments)
    middle, end = law_at(SHORT, kind, 0.5), np.pad(SHORT, [(0, 1)] * 2)
    for column, table in ((0, middle), (1, middle), (2, end)):
        at = np.argwhere(table > 0).tolist()
        seen = np.array([sum(row[column] == string for row in rows) for string in at])
        expected = count * table[table > 0]
        assert seen.sum() == count, "a string that cannot be"
        chi = ((seen - expected) ** 2 / expected).sum()
        assert chi < len(at) - 1 + 4 * np.sqrt(2 * (len(at) - 1)) + 2, (column, chi)
    struck = np.array([row[3] for row in rows])
    wanted = 2 if kind == "mask" else 2 * -np.log(LEFT) / 2  # half of the uniform draws change nothing
    assert abs(struck.mean() - wanted) <= 4 * struck.std() / np.sqrt(count) + 1e-12
    hands = np.array([row[4] for row in rows])
    assert (hands >= 0).all() and (hands <= 1).all() and hands.max() > 0.9


# --- Tokens drawn at once ---


def uneven_law():
    """Four bits, with probabilities at random, and some strings that cannot be."""
    rng = np.random.default_rng(3)
    joint = rng.random((2,) * 4) ** 3 * (rng.random((2,) * 4) > 0.3)
    return joint / joint.sum()


UNEVEN = uneven_law()


def given(joint, state):
    """The law of all tokens, given those of ``state`` that are not None: a table that sums to P(seen)."""
    at = np.indices(joint.shape)
    fits = np.all([at[i] == token for i, token in enumerate(state) if token is not None], axis=0)
    return joint * fits


def marginal(joint, places):
    return joint.sum(tuple(i for i in range(joint.ndim) if i not in places))


def brute(joint, k, order):
    """All that drawing k at once can do, state after state: (law of what is drawn, bits needed, bits lost, by step)."""
    d, S = joint.ndim, joint.shape[0]
    states, steps = {(None,) * d: (1.0, 1.0)}, []  # P(reached by drawing), P(reached by the law) of each
    for n in range(0, d, k):
        size, after, need, lost = min(k, d - n), {}, 0.0, 0.0
        for state, (drawn, true) in states.items():
            table = given(joint, state)
            masked = [i for i in range(d) if state[i] is None]
            if not table.sum():
                continue  # cannot come back to a string of the law
            table = table / table.sum()
            each = {i: marginal(table, [i]) for i in masked}
            sure = sorted(masked, key=lambda i: (-round(each[i].max(), 9), i))[:size]
            blocks = [tuple(sorted(sure))] if order == "confidence" else list(combinations(masked, size))
            for block in blocks:
                together = marginal(table, block)
                for tokens in product(range(S), repeat=size):
                    apart = np.prod([each[i][v] for i, v in zip(block, tokens, strict=True)])
                    p = together[tokens]
                    if p:
                        need -= true * p * np.log(p) / len(blocks)
                        lost += true * p * np.log(p / apart) / len(blocks)
                    new = list(state)
                    for i, v in zip(block, tokens, strict=True):
                        new[i] = v
                    was = after.get(tuple(new), (0.0, 0.0))
                    share = 1 / len(blocks)
                    after[tuple(new)] = (was[0] + drawn * apart * share, was[1] + true * p * share)
        states = after
        steps.append((need, lost))
    law = np.zeros(joint.shape)
    for state, (drawn, _) in states.items():
        law[state] += drawn
    return law, steps


DECODED = """(m, a) => {
  const found = m.decoded(a.law, a.seen, a.k, a.order);
  return { ...found, divergence: m.divergence(a.law, found.drawn) };
}"""
SEEN = "(m, a) => m.subsetChances(a.law)"


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_the_law_drawn_and_the_bits_lost_are_those_of_all_ways(js, order):
    law = page_law(UNEVEN)
    seen = js("stringlaw.js", SEEN, {"law": law})
    assert len(law["rows"]) < UNEVEN.size, "needs strings that cannot be"
    for k in (1, 2, 3, 4):
        found = js("parallel.js", DECODED, {"law": law, "seen": seen, "k": k, "order": order})
        drawn, steps = brute(UNEVEN, k, order)
        true = UNEVEN[UNEVEN > 0]
        np.testing.assert_allclose(found["drawn"], drawn[UNEVEN > 0], atol=1e-12)
        np.testing.assert_allclose([(s["need"], s["cost"]) for s in found["steps"]], steps, atol=1e-12)
        assert found["divergence"] == pytest.approx((true * np.log(true / drawn[UNEVEN > 0])).sum(), abs=1e-12)
        assert sum(s["need"] for s in found["steps"]) == pytest.approx(-(true * np.log(true)).sum())
        assert found["divergence"] <= sum(s["cost"] for s in found["steps"]) + 1e-12
        if k == 1:
            np.testing.assert_allclose(found["drawn"], true, atol=1e-12)


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_strings_are_drawn_from_that_law(js, order):
    code = """(m, a) => {
      let place = 0;
      return Array.from({ length: a.count }, () => m.drawString(a.law, 2, a.order, () => a.uniforms[place++]));
    }"""
    count, law = 2000, page_law(UNEVEN)
    uniforms = np.random.default_rng(1).random(20 * count)
    rows = js("parallel.js", code, {"law": law, "order": order, "count": count, "uniforms": uniforms})
    drawn, _ = brute(UNEVEN, 2, order)
    for row, p in zip(law["rows"], drawn[UNEVEN > 0], strict=True):
        share = np.mean([r["state"] == row and r["isPossible"] for r in rows])
        assert abs(share - p) < 4.5 * np.sqrt(p * (1 - p) / count), row
    missed = np.mean([not r["isPossible"] for r in rows])
    assert abs(missed - (1 - drawn[UNEVEN > 0].sum())) < 4.5 * np.sqrt(missed * (1 - missed) / count) + 1e-12


# --- The area ---


def test_the_curve_is_the_masked_cross_entropy_and_its_area_the_entropy(js):
    """Against the sum over all sets that are seen at rate u, token by token; and the area against quadrature."""
    code = """(m, a) => {
      const entropies = m.subsetEntropies(a.law, m.subsetChances(a.law));
      const stairs = m.staircase(4, entropies);
      return { stairs, curve: a.u.map((u) => m.curveAt(stairs, u)), area: a.u.map((u) => m.areaTo(stairs, u)) };
    }"""
    nodes, weights = np.polynomial.legendre.leggauss(8)
    u = (nodes + 1) / 2
    found = js("stringlaw.js", code, {"law": page_law(UNEVEN), "u": [*u, 1.0]})
    entropy = lambda places: -sum(p * np.log(p) for p in marginal(UNEVEN, places).flat if p)  # noqa: E731
    curve = np.zeros(len(u))
    for i in range(4):
        others = [j for j in range(4) if j != i]
        for size in range(4):
            for seen in combinations(others, size):
                curve += u**size * (1 - u) ** (3 - size) * (entropy((*seen, i)) - entropy(seen))
    np.testing.assert_allclose(found["curve"][:-1], curve, atol=1e-12)
    assert weights @ curve / 2 == pytest.approx(entropy(range(4)), abs=1e-12)
    assert found["area"][-1] == pytest.approx(entropy(range(4)), abs=1e-12)
    middle = [end * (nodes + 1) / 2 for end in u]
    parts = js("stringlaw.js", code, {"law": page_law(UNEVEN), "u": np.concatenate(middle).tolist()})["curve"]
    np.testing.assert_allclose(found["area"][:-1], np.reshape(parts, (8, 8)) @ weights * u / 2, atol=1e-12)
    np.testing.assert_allclose(np.array(found["stairs"]) / np.log(2), staircase(UNEVEN), atol=1e-12)


# --- On the page ---


def number(page, name):
    return float(data(page, name))


def test_k_on_the_slider_and_the_bits_lost(page, write_page):
    open_figures(page, write_page, ParallelDecoding(k=1))
    assert number(page, "lost") == pytest.approx(0, abs=1e-12) and number(page, "missed") < 1e-12
    assert page.locator(".dpm-draws del").count() == 0
    slider = page.get_by_role("slider", name="Tokens at once")
    slider.focus()
    page.keyboard.press("End")
    settle(page)
    joint = small_laws()["sixteen words"][0]
    alone = [marginal(joint, [i]) for i in range(4)]
    together = np.einsum("a,b,c,d->abcd", *alone)
    lost = np.log2(1 / 16 / together[joint > 0]).mean()
    assert number(page, "lost") == pytest.approx(lost) and number(page, "divergence") == pytest.approx(lost)
    assert number(page, "missed") == pytest.approx(1 - together[joint > 0].sum())
    words = set(page.locator(".dpm-draws span").all_text_contents())
    assert words <= set(law_of("sixteen words")["strings"])
    assert not words & set(page.locator(".dpm-draws del").all_text_contents())
    page.get_by_role("combobox", name="Law").select_option("even parity")
    for k, cost in (("5", 0), ("4", 1)):  # five and one; four and two, the last of which are tied
        slider.evaluate("(r, v) => { r.value = v; r.dispatchEvent(new Event('input')); }", k)
        settle(page)
        assert number(page, "lost") == pytest.approx(cost, abs=1e-9)
    page.get_by_role("combobox", name="Order").select_option("confidence")
    before = page.locator(".dpm-draws").text_content()
    page.get_by_role("button", name="New draws").click()
    settle(page)
    assert data(page, "order") == "confidence" and page.locator(".dpm-draws").text_content() != before


def test_the_rate_is_dragged_and_the_area_fills(page, write_page):
    open_figures(page, write_page, MaskedEntropy())
    knob = page.get_by_role("slider", name="Share seen")
    knob.focus()
    page.keyboard.press("PageUp")
    settle(page)
    assert number(page, "u") == 0.6
    page.keyboard.press("End")
    settle(page)
    assert number(page, "area") == pytest.approx(4) and number(page, "entropy") == pytest.approx(4)
    assert data(page, "string") in law_of("sixteen words")["strings"]
    box = knob.locator(".dpm-grip").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] - 300, box["y"])
    page.mouse.up()
    settle(page)
    assert 0.2 < number(page, "u") < 0.8
    page.get_by_role("combobox", name="Law").select_option("a heartbeat")
    page.keyboard.press("Tab")
    settle(page)
    assert number(page, "entropy") == pytest.approx(2) and 0 < number(page, "area") < 2
    page.get_by_role("button", name="Play").click()
    before = number(page, "u")
    page.wait_for_function("(u) => Number(document.querySelector('.dpm-figure').dataset.u) > u", arg=before)


def test_a_string_goes_there_and_back(page, write_page):
    open_figures(page, write_page, MaskedString())
    words = set(law_of("sixteen words")["strings"])
    assert data(page, "string") in words
    time = page.get_by_role("slider", name="Time")
    time.focus()
    page.keyboard.press("End")
    settle(page)
    assert data(page, "string") in words and data(page, "t") == "2.000"
    time.evaluate("(r) => { r.value = 100; r.dispatchEvent(new Event('input')); }")
    settle(page)
    assert data(page, "string") == "____"
    assert page.locator(".dpm-is-masked").count() == 4
    time.evaluate("(r) => { r.value = 150; r.dispatchEvent(new Event('input')); }")
    settle(page)
    rates = page.locator(".dpm-rate").all_text_contents()
    string = data(page, "string")
    assert rates == ["2" if token == "_" else "–" for token in string], "1 / t, for those that are masked"
    assert page.locator(".dpm-jumps-list li").count() == 8
    page.get_by_role("button", name="New path").click()
    page.get_by_role("combobox", name="Law").select_option("a heartbeat")
    page.get_by_role("combobox", name="Kernel").select_option("uniform")
    page.keyboard.press("Home")
    settle(page)
    assert data(page, "seed") == "2" and len(data(page, "string")) == 8
    page.get_by_role("button", name="Play").click()
    page.wait_for_function("() => Number(document.querySelector('.dpm-figure').dataset.t) > 1.55")


BAD = [
    (lambda: MaskedString({}), "laws: need at least one"),
    (lambda: MaskedString(law="x"), "law: 'x': need one of"),
    (lambda: MaskedString(kernel="flip"), "kernel: 'flip': need one of 'mask', 'uniform'"),
    (lambda: ParallelDecoding(k=0), "k: 0: need at least 1"),
    (lambda: ParallelDecoding(k=9), "k: 9: need at most 8"),
    (lambda: ParallelDecoding(order="left"), "order: 'left': need one of 'random', 'confidence'"),
    (lambda: MaskedEntropy(u=1.5), "u: 1.5: need"),
    (lambda: packed("p", np.full((2, 2), 0.25), "aa"), "p: letters 'aa': need two or more, all different"),
    (lambda: packed("p", np.full(2, 0.5), "ab"), "p: 1 tokens: need 2 to 8"),
    (lambda: packed("p", np.full((2, 3), 1 / 6), "ab"), r"p: need shape \(2, 2\)"),
    (lambda: packed("p", np.full((2, 2), 0.3), "ab"), "p: sum 1.2: need probabilities"),
    (lambda: packed("p", [[1.5, -0.5], [0, 0]], "ab"), "p: sum 1: need probabilities, none below 0"),
    (lambda: packed("p", np.full((5,) * 4, 5**-4), "abcde"), "p: 625 strings: need at most 256"),
]


@pytest.mark.parametrize(("make", "words"), BAD)
def test_bad_input(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_the_laws_are_what_they_say():
    laws = small_laws()
    assert tuple(laws) == LAWS
    entropy = {name: -(p[p > 0] * np.log2(p[p > 0])).sum() for name, (p, _) in laws.items()}
    assert [entropy[name] for name in LAWS[:3]] == [4, 2, 5]
    h = -0.9 * np.log2(0.9) - 0.1 * np.log2(0.1)
    assert entropy["sticky bits"] == pytest.approx(1 + 5 * h, rel=1e-12)
