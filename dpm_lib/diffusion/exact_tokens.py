"""The best reverse kernel of independent tokens for a codebook: no network, and nothing to learn."""

import torch
from torch import Tensor

from dpm_lib.diffusion.categorical_kernel import CategoricalKernel
from dpm_lib.diffusion.categorical_reverse import CategoricalReverse
from dpm_lib.probability.categorical import Categorical, token_index
from dpm_lib.probability.codebooks import Codebook


class ExactTokens(CategoricalReverse):
    """The exact law of each token of x_0 given x_t, for data from ``book``, under any ``CategoricalKernel``.

    ValueError for a book of tokens that the kernel's data do not have.
    """

    index: Tensor
    log_weights: Tensor

    def __init__(self, book: Codebook, kernel: CategoricalKernel) -> None:
        super().__init__(torch.nn.Identity(), kernel)
        self.register_buffer("index", token_index("book", kernel.state(book.rows), kernel.vocabulary))
        self.register_buffer("log_weights", book.weights.log())

    def log_rows(self, xt: Tensor, t: int | Tensor, kernel: CategoricalKernel) -> Tensor:
        """log P(row j | x_t), (..., k), nats, for x_t (..., d); NaN for an x_t that no row leads to."""
        evidence = kernel.evidence(xt, t).unsqueeze(-3)  # (..., 1, d, S)
        which = self.index.unsqueeze(-1).expand(*evidence.shape[:-3], *self.index.shape, 1)
        seen = evidence.expand(*which.shape[:-1], evidence.shape[-1]).gather(-1, which)
        return (self.log_weights + seen.squeeze(-1).sum(-1)).log_softmax(-1)

    def start(self, xt: Tensor, t: int | Tensor, kernel: CategoricalKernel) -> Categorical:
        """The exact law of each token of x_0 given x_t, (..., d)."""
        hit = torch.nn.functional.one_hot(self.index, self.vocabulary).to(xt)  # (k, d, S)
        p = torch.einsum("...k,kds->...ds", self.log_rows(xt, t, kernel).exp(), hit)
        return Categorical(p.log())
