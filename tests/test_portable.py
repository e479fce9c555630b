"""What tells whether checked numbers survive another machine: comparing outputs, and the jittered arithmetic."""

import math

import nbformat
import numpy as np
import portable
import pytest
import torch
from arithmetic import TorchJitter, Wrapped, jitter, may_differ
from contract import CHECKED


@pytest.mark.parametrize(
    ("stored", "found", "told"),
    [
        ("a 0.03 b\n", "a 0.03 b\n", []),
        ("TV 0.03, log Z -1.40\n", "TV 0.04, log Z -1.40\n", ["line 1: 0.03 -> 0.04"]),
        ("x\n  9.99 1e-12", "x\n 10.00 2e-12", ["line 2: 9.99 -> 10.00, 1e-12 -> 2e-12"]),
        ("0.000", "-0.000", ["line 1: 0.000 -> -0.000"]),
        ("[0.1 nan]", "[0.1 inf]", ["line 1: nan -> inf"]),
        ("x_1: 0.5", "x_2: 0.5", ["line 1: 'x_1: 0.5' -> 'x_2: 0.5'"]),
        ("holds: True", "holds: False", ["line 1: 'holds: True' -> 'holds: False'"]),
        ("1\n2", "1", ["2 lines -> 1 lines"]),
    ],
)
def test_what_moved(stored, found, told):
    assert list(portable.moved(stored, found)) == told


def test_every_kind_is_played_by_one_thread_but_for_the_one_with_two():
    kinds = portable.kinds(1e-6)
    assert {"plain", "old", "threads", "no-onednn", "jitter-1", "jitter-2"} <= set(kinds)
    for name, changes in kinds.items():
        assert {portable.environment(changes)[key] for key in portable.THREADS} == {"2" if name == "threads" else "1"}
    assert kinds["jitter-2"] == {"PORTABLE_JITTER": "2 1e-06"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_jitter_is_of_the_last_bit(dtype):
    x = np.random.default_rng(0).normal(size=1000).astype(dtype)
    moved, again, mirrored, other = (np.array(y) for y in (x, x, -x, x))
    for y, seed in ((moved, 1), (again, 1), (mirrored, 1), (other, 2)):
        jitter(y, seed)
    bits = (moved - x) / np.spacing(np.abs(x))
    assert np.abs(bits).max() <= 2 and all((np.round(bits) == k).mean() > 0.2 for k in (-1, 0)), "some up, some down"
    assert (bits > 0).mean() > 0.2
    assert (moved == again).all() and (mirrored == -moved).all() and (moved != other).mean() > 0.5


def test_what_every_machine_agrees_on_stays():
    for values in ([0.0, -0.0, 1.0, -3.0, 4096.0, np.inf, -np.inf], np.arange(7.0)):
        x = np.array(values)
        jitter(x, 1)
        np.testing.assert_array_equal(x, values)
    mean = np.arange(1, 50) / 7
    jitter(mean, 1, terms=7)
    np.testing.assert_array_equal(mean, np.arange(1, 50) / 7)
    near = np.full(1000, 1 - 1e-7)
    near -= np.linspace(0, 1e-9, 1000)
    jitter(near, 1, amplitude=1e-6)
    assert near.max() <= 1 and np.ptp(near) > 5e-7


@pytest.mark.parametrize("name", ["exp", "exp_", "sum", "addmm", "_softmax", "special_ndtr", "linalg_eigh", "normal_"])
def test_operations_that_may_differ(name):
    assert may_differ(name)


@pytest.mark.parametrize("name", ["add", "mul", "div", "sqrt", "where", "index_select", "uniform_", "maximum", "view"])
def test_operations_that_are_the_same_everywhere(name):
    assert not may_differ(name, (torch.ones(1), torch.ones(1)))


def test_a_product_and_a_sum_may_be_fused():
    assert may_differ("add", (), {"alpha": 0.3}) and not may_differ("pow", (torch.ones(1), 2))
    assert may_differ("pow", (torch.ones(1), 1.3)) and may_differ("pow", (torch.ones(1), torch.ones(1)))


def test_torch_under_the_jitter():
    x = torch.rand(500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = x.clone().requires_grad_()
    with TorchJitter(1):
        exp, twice, ones, two = x.exp(), x.exp(), (x > 0.5).double(), (x[:1] + x[1:2], torch.stack([x[0], x[1]]).sum())
        count, share, gradient = ones.sum(), ones.mean(), torch.autograd.grad(y.exp().sum(), y)[0]
        root, complex_ = x.sqrt(), torch.exp(1j * x)
    assert torch.equal(exp, twice) and not torch.equal(exp, x.exp()), "the same answer to the same question"
    torch.testing.assert_close(exp, x.exp(), rtol=1e-15, atol=0)
    torch.testing.assert_close(gradient, x.exp(), rtol=1e-15, atol=0)
    assert count == (x > 0.5).sum() and share == (x > 0.5).double().mean() and two[0] == two[1]
    assert torch.equal(root, x.sqrt()) and not torch.equal(complex_, torch.exp(1j * x))


def test_functions_of_numpy_and_of_math_under_the_jitter():
    x = np.linspace(0.1, 3, 200)
    exp = Wrapped(np.exp, 1)
    assert (exp(x) != np.exp(x)).any() and np.abs(exp(x) / np.exp(x) - 1).max() < 1e-15
    assert exp.nin == 1 and isinstance(exp(0.3), np.float64), "what else a ufunc has, it keeps"
    out = np.empty_like(x)
    assert exp(x, out=out) is out
    log = Wrapped(math.log, 1)
    assert [log(v) != math.log(v) for v in x].count(True) > 50 and type(log(2.0)) is float and log(1.0) == 0
    values = Wrapped(np.linalg.eigh, 1)(np.diag(x[:3]) + 0.1)
    assert values.eigenvalues.shape == (3,) and values.eigenvectors.shape == (3, 3)


def notebook(path, *cells):
    """Written as if it had been run; each cell is its source and what it printed, if that is checked."""
    book = nbformat.v4.new_notebook()
    for source, printed in cells:
        cell = nbformat.v4.new_code_cell(source)
        if printed is not None:
            cell.metadata["tags"] = [CHECKED]
            cell.outputs = [nbformat.v4.new_output("stream", text=printed)]
        book.cells.append(cell)
    nbformat.write(book, path)
    return path


def test_a_notebook_is_run_and_what_moves_is_told(tmp_path):
    path = notebook(
        tmp_path / "small.ipynb",
        ("import math, torch", None),
        (
            "for k in range(3, 30):\n    print(f'{math.log(k):.3f}')",
            "".join(f"{math.log(k):.3f}\n" for k in range(3, 30)),
        ),
        ("print('TV', [math.log(k) for k in range(3, 30)])", f"TV {[math.log(k) for k in range(3, 30)]}\n"),
        ("print('0.04')", "0.03\n"),
        ("assert torch.ones(3).sum() == 2, 'wrong'", None),
    )
    [digits, edge, failed] = portable.check_notebook(path, portable.kinds()["jitter-1"])
    assert digits.startswith("cell [3], line 1: 1.") and digits.count("->") > 5
    assert edge == "cell [4], line 1: 0.03 -> 0.04"
    assert failed == "cell [5]: AssertionError: wrong"


def test_failing_tests_are_told(tmp_path):
    (tmp_path / "test_last_bits.py").write_text(
        "import math\n"
        "def test_exact(): assert [math.log(k) for k in range(3, 30)] == VALUES\n"
        "def test_close(): assert max(abs(math.log(k) - v) for k, v in zip(range(3, 30), VALUES)) < 1e-14\n"
        f"VALUES = {[math.log(k) for k in range(3, 30)]}\n"
    )
    [told] = portable.check_tests([str(tmp_path)], portable.kinds()["jitter-1"])
    assert "test_exact" in told and told.startswith("FAILED")
