"""blackjax: adaptive tempered SMC, half of the particles effective, 10 steps of a walk shaped by the particles.

A walk of 2.38 / sqrt(d) times their covariance's root, before each temperature. Evaluations are counted from outside:
for each temperature and particle one to choose it, one to open the walk, and one for each step.
"""

import functools
import math
import os

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import blackjax.smc.adaptive_tempered as tempered
import jax
import jax.numpy as jnp
from answering import serve
from blackjax.mcmc import random_walk
from blackjax.smc import resampling

jax.config.update("jax_enable_x64", True)
STEPS = 10


def log_normal(x, mean, log_std):
    return -0.5 * ((x - mean) * jnp.exp(-log_std)) ** 2 - 0.5 * math.log(2 * math.pi) - log_std


def two_clumps(x, distance=6.0, std=0.7, share=0.7):
    center = 0.5 * distance / math.sqrt(len(x))
    right, left = (log_normal(x, side * center, math.log(std)).sum() for side in (1, -1))
    return jnp.logaddexp(right + math.log(share), left + math.log1p(-share))


def banana(x, std=2.0, bend=0.5):
    bent = log_normal(x[0], 0.0, math.log(std)) + log_normal(x[1], bend * (x[0] ** 2 - std**2), 0.0)
    return bent + log_normal(x[2:], 0.0, 0.0).sum()


def funnel(x, std=3.0):
    return log_normal(x[0], 0.0, math.log(std)) + log_normal(x[1:], 0.0, 0.5 * x[0]).sum()


TARGETS = {"TwoClumps": two_clumps, "Banana": banana, "Funnel": funnel}


@functools.cache
def machine(name, dim, std):
    """The first state and a temperature, compiled."""
    target = TARGETS[name]

    def prior(x):
        return log_normal(x, 0.0, math.log(std)).sum()

    def walk(key, state, log_density, root):
        return random_walk.build_additive_step()(key, state, log_density, random_walk.normal(root))

    kernel = tempered.build_kernel(
        prior, lambda x: target(x) - prior(x), walk, random_walk.init, resampling.systematic, target_ess=0.5
    )

    @jax.jit
    def temperature(key, state):
        root = jnp.linalg.cholesky(jnp.cov(state.particles, rowvar=False)) * 2.38 / math.sqrt(dim)
        state, info = kernel(key, state, STEPS, {"root": root[None]})
        return state, info.log_likelihood_increment

    return temperature


def run(request, seed):
    n, dim, std = request["n"], request["dim"], request["std"]
    temperature = machine(request["target"], dim, std)
    key, first = jax.random.split(jax.random.key(seed))
    state, log_z, count = tempered.init(std * jax.random.normal(first, (n, dim))), 0.0, 0
    while state.tempering_param < 1:
        key, now = jax.random.split(key)
        state, gain = temperature(now, state)
        log_z, count = log_z + float(gain), count + n * (STEPS + 2)
    return [log_z, count]


def answer(request):
    """[log Z, evaluations] of each seed; or the log densities at points."""
    if "points" in request:
        return jax.vmap(TARGETS[request["target"]])(jnp.array(request["points"])).tolist()
    return [run(request, seed) for seed in request["seeds"]]


serve(answer, "blackjax", "jax")
