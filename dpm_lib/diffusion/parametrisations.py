"""x_0, epsilon, score, v and others: names of one number.

Given x_t = a x_0 + s eps, with a = sqrt(alpha_bar_t) and s = sqrt(1 - alpha_bar_t), whatever a network predicts is
A x_t + B x_0 with numbers A, B of the level alone (def-sm-names):

    name      what                           A         B
    x0        x_0                            0         1
    epsilon   eps                            1 / s     -a / s
    score     grad log q(x_t | x_0)          -1 / s^2  a / s^2
    v         a eps - s x_0                  a / s     -1 / s
    edm       (x_0 - a x_t) / s = -v         -a / s    1 / s
    flow      eps - x_0                      1 / s     -1 - a / s

So a guess of one is a guess of all, and an error of one is |B'/B| times that error in another (eq-sm-amplification):
eps -> x_0 multiplies it by sqrt(tau), x_0 -> eps by 1 / sqrt(tau); from v both ways are by less than 1. All functions
take log tau, of any shape (...), and give no NaN at either end. Points are (..., d).
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dpm_lib.core import checks

NAMES = ("x0", "epsilon", "score", "v", "edm", "flow")
# of the halves of log alpha_bar and log (1 - alpha_bar), (A, B)
COEFFICIENTS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "x0": lambda a, s: (torch.zeros_like(a), torch.ones_like(a)),
    "epsilon": lambda a, s: ((-s).exp(), -(a - s).exp()),
    "score": lambda a, s: (-(-2 * s).exp(), (a - 2 * s).exp()),
    "v": lambda a, s: ((a - s).exp(), -(-s).exp()),
    "edm": lambda a, s: (-(a - s).exp(), (-s).exp()),
    "flow": lambda a, s: ((-s).exp(), -1 - (a - s).exp()),
}


def coefficients(name: str, log_tau: Tensor | float) -> tuple[Tensor, Tensor]:
    """A and B of y = A x_t + B x_0, each (...), def-sm-names. ValueError for a name that is none of ``NAMES``."""
    checks.one_of("name", name, NAMES)
    level = torch.as_tensor(log_tau, dtype=torch.float64)
    zero = torch.zeros_like(level)
    return COEFFICIENTS[name](-0.5 * torch.logaddexp(level, zero), -0.5 * torch.logaddexp(-level, zero))


def convert(value: Tensor, xt: Tensor, log_tau: Tensor | float, source: str, target: str) -> Tensor:
    """A guess ``value`` (..., d) of ``source`` as a guess of ``target``, at the point ``xt`` (..., d). {eq}`eq-sm-one`.

    ValueError for names that are none of ``NAMES``.
    """
    (a, b), (other_a, other_b) = (coefficients(name, log_tau) for name in (source, target))
    x0 = (value - a.unsqueeze(-1) * xt) / b.unsqueeze(-1)
    return other_a.unsqueeze(-1) * xt + other_b.unsqueeze(-1) * x0


# of (signal, noise), (p, q) of y = p x_0 + q eps
PARTS: dict[str, Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = {
    "x0": lambda a, s: (torch.ones_like(a), torch.zeros_like(a)),
    "epsilon": lambda a, s: (torch.zeros_like(a), torch.ones_like(a)),
    "score": lambda a, s: (torch.zeros_like(a), -1 / s),
    "v": lambda a, s: (-s, a),
    "edm": lambda a, s: (s, -a),
    "flow": lambda a, s: (-torch.ones_like(a), torch.ones_like(a)),
}


def conversion(log_tau: Tensor | float, source: str, target: str) -> tuple[Tensor, Tensor]:
    """P and Q, each (...), of target = P x_t + Q source: ``convert`` in numbers, without a difference of large ones.

    Infinite, or NaN, where the one does not tell the other: x_0 where there is no noise to read, epsilon no signal.
    ValueError for names that are none of ``NAMES``.
    """
    for key, name in (("source", source), ("target", target)):
        checks.one_of(key, name, NAMES)
    level = torch.as_tensor(log_tau, dtype=torch.float64)
    zero = torch.zeros_like(level)
    a, s = (-0.5 * torch.logaddexp(level, zero)).exp(), (-0.5 * torch.logaddexp(-level, zero)).exp()
    (p, q), (other_p, other_q) = PARTS[source](a, s), PARTS[target](a, s)
    turn = a * q - s * p
    return (other_p * q - other_q * p) / turn, (a * other_q - s * other_p) / turn


def amplification(log_tau: Tensor | float, source: str, target: str) -> Tensor:
    """By what an error in ``source`` is multiplied where it becomes one in ``target``, (...): eq-sm-amplification."""
    return (coefficients(target, log_tau)[1] / coefficients(source, log_tau)[1]).abs()


def weight(name: str, log_tau: Tensor | float) -> Tensor:
    """|y - y_hat|^2 of the prediction ``name`` is this times |x_0 - x0_hat|^2, (...): B^2. eq-sm-one."""
    return coefficients(name, log_tau)[1].square()


def preconditioning(log_tau: Tensor | float, data_std: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
    """c_skip, c_out, c_in, each (...), of x0_hat = c_skip z + c_out F(c_in z), z = x_0 + sigma eps (Karras et al.).

    For data of this standard deviation: the input of F has variance 1, what F should say has variance 1, and of all
    c_skip for which that can be, this makes c_out, what F's error is multiplied by, least. eq-sm-edm. In the chain's
    own units, x_t = c_in z, and with data_std = 1, c_skip z = sqrt(alpha_bar) x_t and c_out = sqrt(1 - alpha_bar).
    ValueError for a data_std that is not positive.
    """
    level = torch.as_tensor(log_tau, dtype=torch.float64) - 2 * math.log(checks.positive("data_std", data_std))
    log_total = torch.logaddexp(level, torch.zeros_like(level))
    return (-log_total).exp(), data_std * (0.5 * (level - log_total)).exp(), (-0.5 * log_total).exp() / data_std
