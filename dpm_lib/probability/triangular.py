"""Cholesky factors, and triangular systems, of many small matrices at once.

LAPACK takes matrices one by one: where they are tiny, the calls cost more than the numbers. So up to SMALL rows both
are written out, entry by entry, each for all matrices at once; larger ones go to LAPACK.
"""

import torch
from torch import Tensor

SMALL = 4  # rows


def lower(diagonal: Tensor, below: Tensor) -> Tensor:
    """Lower triangular matrices (..., d, d): a ``diagonal`` (..., d), and ``below`` it by rows, (..., d(d-1)/2)."""
    rest = iter(below.unbind(-1))
    return _square([[next(rest) for _ in range(i)] + [entry] for i, entry in enumerate(diagonal.unbind(-1))])


def cholesky(matrix: Tensor) -> Tensor:
    """The lower factor L with L L^T = ``matrix``, (..., d, d), positive definite: else torch.linalg.LinAlgError."""
    d = matrix.shape[-1]
    if not 0 < d <= SMALL or matrix.is_cuda:  # a GPU takes them all at once, and would be waited for by the check below
        return torch.linalg.cholesky(matrix)
    rows = [row.unbind(-1) for row in matrix.unbind(-2)]
    factor: list[list[Tensor]] = [[] for _ in range(d)]
    for i in range(d):
        for j in range(i + 1):
            rest = rows[i][j]
            for k in range(j):
                rest = rest - factor[i][k] * factor[j][k]
            factor[i].append(rest.sqrt() if i == j else rest / factor[j][j])
    if not (factor[-1][-1] > 0).all():  # what is not positive before it makes a NaN of it
        raise torch.linalg.LinAlgError("cholesky: a matrix is not positive definite")
    return _square(factor)


def solve(factor: Tensor, right: Tensor) -> Tensor:
    """L^-1 B for lower triangular L (..., d, d) and B (..., d, m), by forward substitution: (..., d, m)."""
    d = factor.shape[-1]
    if not 0 < d <= SMALL:
        return torch.linalg.solve_triangular(factor, right, upper=False)
    solved: list[Tensor] = []
    for i, rest in enumerate(right.unbind(-2)):
        for k in range(i):
            rest = rest - factor[..., i, k, None] * solved[k]
        solved.append(rest / factor[..., i, i, None])
    return torch.stack(solved, -2)


def _square(rows: list[list[Tensor]]) -> Tensor:
    """Matrices (..., d, d) of their rows' entries (...), up to the diagonal, and zeros beyond it."""
    zero, d = torch.zeros_like(rows[0][0]), len(rows)
    return torch.stack([entry for row in rows for entry in row + [zero] * (d - len(row))], -1).unflatten(-1, (d, d))
