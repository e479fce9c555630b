"""Where a run computes, what can go wrong there, and how to compile for it."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from accelerate import Accelerator


def accelerator_for(device: str) -> "Accelerator":
    """An Accelerator on "cpu" or "cuda", or "auto": a GPU where there is one. ValueError for another device.

    Chains are kept in float64, which Apple's GPUs do not have: there, "auto" is the CPU. Precision is the recipe's
    affair, whatever ``accelerate launch`` was told. Accelerate knows one kind of device in a process, that of the
    first Accelerator; one process alone may change it here, and earlier Accelerators then name the new one. On a GPU
    the fastest convolutions are looked for, in the whole process (``cudnn.benchmark``).
    """
    from accelerate import Accelerator  # here, for it is slow to import
    from accelerate.state import AcceleratorState, PartialState

    if device not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device: {device!r} is not one of auto, cpu, cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda' was asked for, and PyTorch sees no GPU")
    cpu = device == "cpu" or not torch.cuda.is_available()
    known = PartialState() if PartialState._shared_state else None
    if known is not None and known.num_processes == 1 and cpu != (known.device.type == "cpu"):
        AcceleratorState._reset_state(reset_partial_state=True)
    if not cpu:
        torch.backends.cudnn.benchmark = True  # training batches have one shape
    return Accelerator(cpu=cpu, mixed_precision="no")


def keep_buffers_apart(module: nn.Module) -> None:
    """Tell several processes not to send each other ``module``'s buffers at every step: they are constants."""
    names = [name for name, _ in module.named_buffers()]
    nn.parallel.DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(module, names)


def warn_of_slow_bf16(device: torch.device) -> None:
    """Warn that a GPU older than Ampere (a T4 of Colab's, say) has no bf16 of its own, and only imitates it."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        warnings.warn(f"precision: bf16 is slow on {name(device)}, which imitates it; fp32 is faster", stacklevel=3)


def moved(value: Tensor, device: torch.device) -> Tensor:
    """``value``, of any shape, on ``device``. To a GPU from pinned memory: nothing waits until it is idle."""
    if device.type == "cuda" and value.device.type == "cpu":
        return value.pin_memory().to(device, non_blocking=True)
    return value.to(device)


def name(device: torch.device) -> str:
    """The GPU's name, or "cpu"."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out: Python's, PyTorch's on the CPU, a GPU's, or its libraries'."""
    kinds = (MemoryError, torch.cuda.OutOfMemoryError)
    words = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, kinds) or any(said in str(error) for said in words)


def compiled(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``function``, of tensors of any shape, through torch.compile; itself, with a warning, where it fails."""
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
