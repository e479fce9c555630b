"""Where a run computes, what can go wrong there, and how to compile for it."""

import warnings
from collections.abc import Callable

import torch
from accelerate import Accelerator
from torch import Tensor


def accelerator_for(device: str) -> Accelerator:
    """An Accelerator on "cpu" or "cuda", or "auto": a GPU where there is one. ValueError for another device.

    Chains are kept in float64, which Apple's GPUs do not have: there, "auto" is the CPU. Precision is the recipe's
    affair, whatever ``accelerate launch`` was told.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: {device!r} is not one of auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, and PyTorch sees no GPU")
    return Accelerator(cpu=device == "cpu" or not torch.cuda.is_available(), mixed_precision="no")


def name(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out: Python's, PyTorch's on the CPU, or a GPU's."""
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    return isinstance(error, kinds) or "can't allocate memory" in str(error)


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function`` through torch.compile; ``function`` itself, with a warning, where this machine cannot compile it."""
    use = torch.compile(function)

    def call(*arguments: Tensor) -> Tensor:
        nonlocal use
        try:
            return use(*arguments)
        except torch._dynamo.exc.TorchDynamoException as error:
            if use is function:
                raise
            use = function
            reason = next(line for line in str(error).splitlines() if line.strip())
            warnings.warn(f"compile: goes on without, which is slower but the same otherwise: {reason}", stacklevel=2)
            return use(*arguments)

    return call
