"""Guidance of a masked model, exactly: what is drawn, and the weight that turns it into the tilt.

Tokens are unmasked one by one in some order. Each is drawn from its two conditional laws, mixed as guidance mixes,

    g(x_i | x_A) = p(x_i | x_A)^(1-w) p(x_i | x_A, c)^w / Z(x_A) ,

and the product over all tokens is p(x)^(1-w) p(x | c)^w divided by the product of the Z on the way (eq-mk-guided).
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from dpm_lib.core import checks
from dpm_lib.probability.strings import StringLaw


def guided(law: StringLaw, told: StringLaw, w: float, order: Sequence[int]) -> tuple[Tensor, Tensor]:
    """The law of what guidance ``w`` draws in this ``order`` of tokens, and the log weight of each draw, both (S,)*d.

    ``law`` is p(x), ``told`` p(x | c). The weight is the sum of log Z on the way, nats: law times weight is the tilt up
    to a constant. ValueError where the two laws are of other strings, ``told`` has some that ``law`` has not, w is
    negative or infinite, or ``order`` does not name each token once.
    """
    if law.joint.shape != told.joint.shape:
        raise ValueError(
            f"told: strings of shape {tuple(told.joint.shape)}: need those of law, {tuple(law.joint.shape)}"
        )
    if bool(((law.joint == 0) & (told.joint > 0)).any()):
        raise ValueError("told: has strings of probability 0 under law: need p(x | c) > 0 only where p(x) > 0")
    w = checks.between("w", w, 0)
    if sorted(order) != list(range(law.length)):
        raise ValueError(f"order: {list(order)}: need each token of 0..{law.length - 1} once")
    S, d = law.kinds, law.length
    plain, classed = law.conditionals(), told.conditionals()
    strings = torch.cartesian_prod(*[torch.arange(S)] * d).reshape(-1, d)
    shown = torch.full_like(strings, S)
    log_drawn, log_weight = torch.zeros(2, len(strings), dtype=torch.float64)
    for i in order:
        at = tuple(shown.T)
        p, c = plain[at][:, i], classed[at][:, i]
        mixed = _log_mixed(p, c, w)
        log_Z = mixed.logsumexp(-1)
        log_drawn = log_drawn + (mixed - log_Z.unsqueeze(-1)).gather(-1, strings[:, i, None])[:, 0]
        log_weight = log_weight + log_Z
        shown[:, i] = strings[:, i]
    reached = torch.nan_to_num(log_drawn.exp(), nan=0.0)
    return reached.reshape((S,) * d), log_weight.reshape((S,) * d)


def tilt(law: StringLaw, told: StringLaw, w: float) -> StringLaw:
    """p(x)^(1-w) p(x | c)^w / Z, the law that guidance seems to promise. ValueError for w as above."""
    log_r = _log_mixed(law.joint, told.joint, checks.between("w", w, 0))
    return StringLaw(log_r.reshape(-1).softmax(0).reshape(log_r.shape))


def _log_mixed(p: Tensor, c: Tensor, w: float) -> Tensor:
    """log p^(1-w) c^w, elementwise: -infinity where p is 0, or c is and enters."""
    return torch.where(p > 0, (1 - w) * p.log() + (w * c.log() if w else 0.0), -torch.inf)
