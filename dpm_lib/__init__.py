"""dpm_lib: the library under the book. One module per idea; three nouns flow through everything.

- :class:`dpm_lib.weights.WeightedSamples`: samples with importance weights.
- :class:`dpm_lib.sde.SDE`: a stochastic differential equation, its density and its reversal.
- :class:`dpm_lib.diffusion.DiffusionModel`: a forward chain, a schedule, and a learned reverse chain.

Conventions, everywhere: data ``x`` has shape (..., d), batch first; logarithms are natural (nats) unless a
name ends in ``_bits``; schedules are tensors of length T+1, so that ``beta[t]`` is the beta_t of the page;
chains are kept in float64, networks may be float32; randomness comes only from a ``torch.Generator``.
"""

__version__ = "0.1.0"
