"""diffrax: sinh(W) by one of its schemes for Ito's sense, compiled, and its error on its own path."""

import functools
import os
import time

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import diffrax
import jax
import jax.numpy as jnp
from answering import serve

jax.config.update("jax_enable_x64", True)


@functools.partial(jax.jit, static_argnames=("scheme", "steps", "n"))
def solve(key, scheme, steps, n):
    def one(key):
        path = diffrax.UnsafeBrownianPath(shape=(), key=key)  # the quickest: steps are never taken back
        noise = diffrax.ControlTerm(lambda t, x, args: jnp.sqrt(1 + x * x), path)
        terms = diffrax.MultiTerm(diffrax.ODETerm(lambda t, x, args: 0.5 * x), noise)
        times = diffrax.StepTo(jnp.linspace(0.0, 1.0, steps + 1))
        found = diffrax.diffeqsolve(
            terms,
            getattr(diffrax, scheme)(),
            0.0,
            1.0,
            None,
            0.0,
            stepsize_controller=times,
            adjoint=diffrax.ForwardMode(),
            max_steps=steps + 1,
        )
        return found.ys[-1]

    return jax.vmap(one)(jax.random.split(key, n))


@functools.partial(jax.jit, static_argnames=("steps", "n"))
def ends(key, steps, n):
    """W_1 of the same paths: the sum of the increments that the steps have seen."""
    times = jnp.linspace(0.0, 1.0, steps + 1)

    def one(key):
        path = diffrax.UnsafeBrownianPath(shape=(), key=key)
        return jax.vmap(path.evaluate)(times[:-1], times[1:]).sum()

    return jax.vmap(one)(jax.random.split(key, n))


def answer(request):
    key, steps, n = jax.random.key(request["seed"]), request["steps"], request["paths"]
    start = time.process_time()
    x = solve(key, request["scheme"], steps, n).block_until_ready()
    spent = time.process_time() - start
    off = jnp.abs(x - jnp.sinh(ends(key, steps, n)))
    return {"error": float(off.mean()), "stderr": float(off.std(ddof=1)) / n**0.5, "seconds": spent}


serve(answer, "diffrax", "jax")
