"""Markovian VAEs: the same code on an autoregressive model, a VAE and a diffusion; exact ladders; bad input."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from problems import all_bits, bit_model, blobs, close, close_mean, exact_model, random_schedule, rng, short_schedule

from dpm_lib.diffusion import bound
from dpm_lib.exact import bound_derivation, enumeration
from dpm_lib.probability import energy_distance
from dpm_lib.vae import four_bits, gan, hierarchical, markovian_vae
from dpm_lib.vae.autoregressive import Autoregressive, Symbols
from dpm_lib.vae.gaussian_vae import GaussianVAE


def model(length: int = 3, kinds: int = 3, seed: int = 0) -> Autoregressive:
    """Random tables, some of whose entries are zero."""
    generator = np.random.default_rng(seed)
    tables = [generator.dirichlet(np.ones(kinds), kinds**i) for i in range(length)]
    tables[-1][0] = np.eye(kinds)[1]
    return Autoregressive([torch.from_numpy(table) for table in tables])


def strings(length: int = 3, kinds: int = 3) -> torch.Tensor:
    return torch.cartesian_prod(*length * [torch.arange(kinds)])


def prefixes(auto: Autoregressive) -> list[torch.Tensor]:
    """The states of every rung: strings, then shorter and shorter prefixes."""
    every = strings(auto.length, auto.kinds)
    return [auto.prefix(every, auto.length - rung).unique(dim=0) for rung in range(auto.length + 1)]


# The autoregressive model


def test_log_prob_is_a_law_and_a_product():
    auto = model()
    every = strings()
    assert float(auto.log_prob(every).exp().sum()) == pytest.approx(1)
    y = torch.tensor([2, 0, 1])
    tables = auto.tables
    assert float(auto.log_prob(y)) == pytest.approx(math.log(tables[0][0, 2] * tables[1][2, 0] * tables[2][6, 1]))


def test_samples_have_the_law_of_the_chain_rule():
    auto = model()
    drawn = markovian_vae.sample(auto, 20_000, rng(1))
    assert [z.shape for z in drawn] == 4 * [(20_000, 3)] and (drawn[3] == 3).all()
    for above, below in pairwise(drawn[::-1]):
        assert ((above == below) | (above == 3)).all()
    code = (drawn[0] * torch.tensor([9, 3, 1])).sum(1)
    p = auto.log_prob(strings()).exp()
    share = torch.bincount(code, minlength=27) / 20_000
    assert ((share - p).abs() <= 4.5 * (p * (1 - p) / 20_000).sqrt() + 5e-5).all()


def test_fitted_tables_are_frequencies_of_what_is_remembered():
    y = torch.tensor([[0, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0]])
    full = Autoregressive.fit(y, 2, memory=2, pseudo=1e-9)
    close(full.log_prob(y).exp(), [0.5, 0.25, 0.5, 0.25], rtol=1e-6)
    one = Autoregressive.fit(y, 2, memory=1, pseudo=1e-9)
    close(one.log_prob(y).exp(), [0.5 * 2 / 3, 0.25 * 1 / 3, 0.5 * 2 / 3, 0.25], rtol=1e-6)
    none = Autoregressive.fit(y, 2, memory=0, pseudo=1e-9)
    close(none.log_prob(y).exp(), [0.5 * 0.75 * 0.5, 0.5 * 0.75 * 0.5, 0.5 * 0.75 * 0.5, 0.5 * 0.25 * 0.5], rtol=1e-6)


def test_symbols_kl_and_points():
    p = Symbols(torch.tensor([[0.5, 0.5, 0.0]]).double().log())
    q = Symbols(torch.tensor([[0.25, 0.25, 0.5]]).double().log())
    assert float(p.kl(q)) == pytest.approx(math.log(2)) and float(q.kl(p)) == math.inf
    point = Symbols.point(torch.tensor([2]), 3)
    assert int(point.sample(rng())) == 2 and float(point.kl(q)) == pytest.approx(math.log(2))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Autoregressive([]), "tables: need at least one"),
        (lambda: Autoregressive([torch.ones(1, 2) / 2, torch.ones(3, 2) / 2]), r"tables\[1\]: shape \(3, 2\)"),
        (lambda: Autoregressive([torch.ones(1, 2)]), r"tables\[0\]: need a sum of 1, got 2 at index 0"),
        (lambda: Autoregressive.fit(torch.zeros(2, 2).long(), 2, -1), "need memory >= 0"),
        (lambda: Autoregressive.fit([0, 1], 2, 1), r"strings: need rows \(n, length\), got shape \(2,\)"),
        (lambda: model().log_prob(torch.tensor([0, 1, 3])), r"y: 3 at index \(2,\) is no symbol of 0..2"),
        (lambda: model().log_prob(torch.zeros(3)), "need integers"),
        (lambda: markovian_vae.trajectory_weights(model(), strings(), 0, rng()), "n: 0: need at least 1"),
        (lambda: hierarchical.from_vae(model(), prefixes(model())[:3], np.ones(27) / 27), "3 sets for 3 rungs"),
        (lambda: four_bits.four_bits("gan", 2), "'gan', 2, 0.0"),
        (lambda: four_bits.four_bits("vae", 5), "'vae', 5, 0.0"),
        (lambda: GaussianVAE(2, 2, 0, 8, 1, rng()), "rungs: 0"),
        (lambda: energy_distance.estimate(torch.zeros(5, 2), torch.zeros(6, 2)), "need the same shape"),
        (lambda: energy_distance.estimate(torch.zeros(5, 2), torch.zeros(5, 2)), "blocks: 10 for 5 rows"),
        (lambda: energy_distance.estimate(torch.zeros(40, 2), torch.full((40, 2), math.nan)), "y: not finite at row 0"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_lists_and_single_precision_will_do():
    tables = [[[0.5, 0.5]], [[0.1, 0.9], [0.3, 0.7]]]
    auto = Autoregressive([torch.tensor(table) for table in tables])  # float32: off by a rounding, and renormalised
    close(auto.log_prob([1, 0]), math.log(0.5 * 0.3), rtol=1e-6)
    close(Autoregressive(tables).log_prob([[0, 1], [1, 1]]).exp(), [0.45, 0.35])
    close(Autoregressive.fit([[0, 1], [1, 1]], 2, 0, 1e-9).log_prob([0, 1]).exp(), 0.5, rtol=1e-6)
    ladder = hierarchical.FiniteVAE([0.5, 0.5], [0.5, 0.5], [[[0.9, 0.1], [0.1, 0.9]]], [[[0.9, 0.1], [0.1, 0.9]]])
    assert ladder.elbo == pytest.approx(-math.log(2))
    x = blobs().sample(40, rng(0))
    assert energy_distance.estimate(x.tolist(), x.numpy() + 1) == energy_distance.estimate(x, x + 1)


# Exact ladders


def test_a_ladder_names_a_bad_table():
    good = four_bits.four_bits("vae", 2)
    with pytest.raises(ValueError, match=r"generator\[1\]: need a sum of 1, got 2 at index 0"):
        hierarchical.FiniteVAE(good.data, good.prior, good.encoder, [good.generator[0], 2 * good.generator[1]])
    with pytest.raises(ValueError, match=r"encoder\[1\]: shape \(4, 4\), and \(16, 4\)"):
        hierarchical.FiniteVAE(good.data, good.prior, [np.eye(16), good.encoder[1]], [np.eye(16), good.generator[1]])
    with pytest.raises(ValueError, match="more than 1048576 paths"):
        table = np.eye(16)
        hierarchical.FiniteVAE(good.data, good.data, 5 * [table], 5 * [table])


def test_chains_of_the_bound_chapter_are_ladders():
    chains = enumeration.coupled_bits(0.8, [0.1, 0.4, 0.7], 0.2)
    ladder = hierarchical.from_chains(chains)
    lines = bound_derivation.lines(chains)
    assert ladder.elbo == pytest.approx(sum(lines[3].values()), abs=1e-12)
    assert ladder.log_likelihood == pytest.approx(lines[1]["log p"], abs=1e-12)
    assert ladder.terms()["KL 2"] == pytest.approx(lines[9]["KL 2"], abs=1e-12)


def test_autoregressive_model_by_enumeration():
    auto = model()
    data = np.random.default_rng(3).dirichlet(np.ones(27))
    data[0] = 0
    data[2] = 0  # the model gives these no probability
    data /= data.sum()
    ladder = hierarchical.from_vae(auto, prefixes(auto), data)
    exact = float((torch.from_numpy(data) * auto.log_prob(strings()).clamp(min=-1e9)).sum())
    assert ladder.elbo == pytest.approx(exact, abs=1e-12)
    assert ladder.log_likelihood == pytest.approx(exact, abs=1e-12)


def test_diffusion_of_bits_by_enumeration():
    diffusion = bit_model(short_schedule())
    data = np.array([0.4, 0.1, 0.2, 0.3])
    ladder = hierarchical.from_vae(markovian_vae.Diffusion(diffusion), 5 * [all_bits(2)], data)
    y = all_bits(2)[torch.multinomial(torch.from_numpy(data), 4000, replacement=True, generator=rng(2))]
    close_mean(bound.terms(diffusion, y, rng(3)).K, ladder.elbo)
    close_mean(markovian_vae.trajectory_weights(markovian_vae.Diffusion(diffusion), y, 1, rng(4)).elbo, ladder.elbo)


@pytest.mark.parametrize("kind", four_bits.KINDS)
@pytest.mark.parametrize("rungs", [1, 2, 4])
def test_every_ladder_is_a_bound_with_the_same_limit(kind, rungs):
    ladder = four_bits.four_bits(kind, rungs, 0.3)
    assert ladder.N == rungs
    assert ladder.elbo <= ladder.log_likelihood + 1e-12 < -ladder.entropy
    best = ladder.reversed()
    assert best.elbo == pytest.approx(-best.entropy, abs=1e-12) == best.log_likelihood
    falls = ladder.information
    assert falls[0] == pytest.approx(ladder.entropy) and all(a >= b - 1e-12 for a, b in pairwise(falls))


def test_one_rung_makes_all_models_write_the_whole_string_at_once():
    one, other = four_bits.four_bits("autoregressive", 1, 0.2), four_bits.four_bits("diffusion", 1, 0.2)
    assert one.elbo == pytest.approx(other.elbo, abs=1e-12)
    assert four_bits.four_bits("autoregressive", 4).elbo == pytest.approx(-one.entropy, abs=1e-12)


# The VAE, the judge and the energy distance


@pytest.mark.equation("eq-vae-elbo-kl")
def test_vae_terms_and_weights_estimate_the_same_bound():
    vae = GaussianVAE(2, 2, 3, 8, 1, rng(0))
    y = blobs().sample(3000, rng(1))
    with torch.no_grad():
        terms = markovian_vae.terms(vae, y, rng(2))
        drawn = markovian_vae.trajectory_weights(vae, y, 1, rng(3)).elbo
    close_mean(terms.elbo - drawn, 0.0)
    assert terms.kl.shape == (4, 3000) and bool((terms.kl[:2] == 0).all()) and bool((terms.kl[2:] >= 0).all())
    assert vae.state(y.float()).dtype == torch.float64


@pytest.mark.parametrize("rungs", [1, 2, 4])
def test_a_step_of_training_asks_every_network_once_a_row(rungs):
    """What the contest counts as 3 passes a step: every weight is used for each row once, and twice backwards."""
    vae, seen = GaussianVAE(2, 2, rungs, 8, 1, rng(0)), []
    for net in (vae.encoder, *vae.generators):
        net.register_forward_hook(lambda net, given, out: seen.append((net, len(given[0]))))
    markovian_vae.terms(vae, blobs().sample(50, rng(1)), rng(2))
    assert sorted(map(id, (net for net, _ in seen))) == sorted(map(id, (vae.encoder, *vae.generators)))
    assert {rows for _, rows in seen} == {50}


def test_gradients_reach_every_network_of_a_vae():
    vae = GaussianVAE(2, 2, 2, 8, 1, rng(0))
    markovian_vae.terms(vae, blobs().sample(50, rng(1)), rng(2)).elbo.mean().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in vae.parameters())


def test_gaussian_diffusion_terms_agree_with_the_bound_module():
    diffusion = exact_model(blobs(), random_schedule(6))
    y = blobs().sample(2000, rng(1))
    mine = markovian_vae.terms(markovian_vae.Diffusion(diffusion), y, rng(2))
    theirs = bound.terms(diffusion, y, rng(3))
    close_mean(mine.elbo - theirs.K, 0.0)
    close_mean(mine.kl.T - theirs.kl.T, 0.0)


def test_gan_networks_draw_and_judge():
    draws, judges = gan.networks(2, 2, 8, 1, rng(0))
    x = gan.draw(draws, 50, rng(1)).detach()
    assert x.shape == (50, 2) and float(x.std(0).min()) > 0.01  # not all the same point
    assert gan.judge(judges, x).shape == (50,)


@pytest.mark.equation("eq-vae-cdf")
def test_energy_distance_is_unbiased_and_sees_a_shift():
    found = torch.tensor(
        [energy_distance.estimate(blobs().sample(200, rng(s)), blobs().sample(200, rng(1000 + s))) for s in range(100)]
    )
    close_mean(found[:, 0], 0.0)
    assert 0.5 < float(found[:, 1].square().mean() / found[:, 0].var()) < 1.6  # known to 15%
    moved = blobs().sample(2000, rng(2)) + 0.3
    value, error = energy_distance.estimate(blobs().sample(2000, rng(1)), moved)
    assert value > 8 * error


def test_a_diffusions_weights_are_the_same_by_both_routes():
    """The model's own, and those of a Markovian VAE that it is: draw for draw, for points and for bits."""
    for diffusion, x0 in (
        (exact_model(blobs(), random_schedule(5)), blobs().sample(4, rng(0))),
        (bit_model(short_schedule()), all_bits(2)),
    ):
        own = diffusion.trajectory_weights(x0, 7, rng(1))
        other = markovian_vae.trajectory_weights(markovian_vae.Diffusion(diffusion), x0, 7, rng(1))
        close(own.log_weights, other.log_weights, rtol=1e-12)
        close(own.x, other.x)
