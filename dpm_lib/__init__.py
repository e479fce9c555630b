"""dpm_lib: the library under the book. One module per idea; three nouns flow through everything.

- :class:`dpm_lib.weights.WeightedSamples`: samples with importance weights.
- :class:`dpm_lib.sde.SDE`: a stochastic differential equation, its density and its reversal.
- :class:`dpm_lib.diffusion.DiffusionModel`: a forward chain, a schedule, and a learned reverse chain.

Where to look, by chapter (tests mirror the names):

- 1 sampling: ``montecarlo``, ``targets``, ``weights``. 2 chains: ``markov``.
- 3 annealing: ``annealing``, ``tempering``, ``tuning``.
- 4 random walks: ``sde``, ``fokker_planck``, ``steppers``. 5 Kolmogorov: ``kolmogorov``, ``jumps``,
  ``reversal``.
- 6 the model: ``kernels``, ``laws``, ``schedules``, ``reverse``, ``networks``, ``diffusion``, ``bound``, ``limits``,
  ``distributions``.
- 7 the bound: ``ledger``, ``enumeration``, ``entropy``, ``gaussian_schedule``. 8 bits: ``codebooks``.
- 9 posteriors: ``posteriors``, ``tilts``, ``twisting``.
- 10 Markovian VAEs: ``markovian``, ``ladders``, ``ladder_examples``, ``autoregressive``, ``gaussian_vae``, ``gan``,
  ``energy_distance``.
- 11 the ways back: ``exploding``, ``euler``, ``flow``. 12 information: ``information``, ``estimation``.
- 14 images: ``images``, ``image_folder``, ``textures``, ``downloads``; ``image_networks``, ``paper_images``,
  ``levels``, ``image_models``, ``image_recipes``; ``image_bounds``, ``image_baselines``.
- Training: ``recipes``, ``costs``, ``data``, ``training``, ``run``, ``objective``, ``course``, ``devices``,
  ``interruption``, ``checkpoints``, ``evaluation``, ``cli``.
- The book's own: ``results``, ``plots``, ``checks``, ``extras``, ``widgets``.

Conventions, everywhere: data ``x`` has shape (..., d), batch first; logarithms are natural (nats) unless a
name ends in ``_bits``; schedules are tensors of length T+1, so that ``beta[t]`` is the beta_t of the page;
chains are kept in float64, networks may be float32; randomness comes only from a ``torch.Generator``.
"""

__version__ = "0.1.0"
