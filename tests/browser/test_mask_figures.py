"""The figures of the chapter on masks and jumps: the page's numbers against exact enumeration, and the controls."""

import numpy as np
import pytest
from opening import data, open_figures, settle

from dpm_lib.figures.widgets import MaskedString
from dpm_lib.figures.widgets.masks import LAWS, packed, small_laws

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


# --- On the page ---


def test_a_string_goes_there_and_back(page, write_page):
    open_figures(page, write_page, MaskedString())
    words = set(law_of("sixteen words")["strings"])
    assert data(page, "string") in words
    time = page.get_by_role("slider", name="Time")
    time.focus()
    page.keyboard.press("End")
    settle(page)
    assert data(page, "string") in words and data(page, "t") == "2.000"
    time.evaluate("(r) => { r.value = 200; r.dispatchEvent(new Event('input')); }")
    settle(page)
    assert data(page, "string") == "____"
    assert page.locator(".dpm-is-masked").count() == 4
    time.evaluate("(r) => { r.value = 300; r.dispatchEvent(new Event('input')); }")
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
