"""Tokens as a network of numbers sees them: a row of zeros with a 1 for each."""

from torch import Tensor, nn

from dpm_lib.core.checks import count


class OneHot(nn.Module):
    """``network`` of strings of whole numbers x (n, d), each below ``tokens``: it sees zeros and ones, (n, d tokens).

    ValueError for fewer than one token.
    """

    def __init__(self, network: nn.Module, tokens: int) -> None:
        super().__init__()
        self.network = network
        self.tokens = count("tokens", tokens)

    def forward(self, x: Tensor, t: Tensor, log_tau: Tensor) -> Tensor:
        """What the network gives for x (n, d), times t (n,) and log_tau (n,)."""
        shown = nn.functional.one_hot(x.long(), self.tokens).flatten(1)
        return self.network(shown.to(x.dtype), t, log_tau)
