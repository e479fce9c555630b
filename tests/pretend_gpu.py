"""A GPU that is not there: CPU tensors that are said to be on one, so that code for a GPU runs where there is none.

Inside ``PretendGPU()`` everything computes as ever, on the CPU, with real numbers. But a tensor made with, or moved to,
a CUDA device is marked, and so is all that is computed from it: its ``.device`` is ``cuda:0``. As on a GPU,

- an operation on tensors of both kinds raises, unless the one on the CPU is a single number; so does a generator of
  the other device, and NumPy's view of a marked tensor;
- what makes the CPU wait for the GPU (``.item()``, ``bool``, a boolean mask as an index, a copy to the CPU, or one from
  memory that is not pinned) is counted in ``waits``, by name, and raises within ``never_waiting()``.

So it finds tensors and generators of the wrong device, and hidden waits, in training, resuming, evaluating, sampling.
It cannot find what only a GPU's own kernels do: an operation that has none, rounding, autocast's own list of operations
for CUDA, what torch.compile makes, memory, speed, several GPUs. PyTorch's FakeTensorMode would find the first kind as
well; but in a build without CUDA it aborts where autograd asks for a CUDA stream, and it has no numbers to go on with.
"""

import contextlib
from collections import Counter
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn.utils import clip_grad
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")
aten = torch.ops.aten
READS = {  # operations that hand a number, or a shape, back to the CPU
    aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal, aten.is_nonzero, aten._linalg_check_errors,
    aten._unique2, aten.unique_dim, aten.unique_consecutive,
}  # fmt: skip
BETWEEN = {aten.copy_, aten._foreach_copy_}  # may have tensors of both kinds
NAMES = {torch.device, torch._C._nn._parse_to}  # merely read the name of a device
MOVES = {torch.Tensor.to, torch.Tensor.cuda, torch.Tensor.cpu, torch.as_tensor, torch.asarray, torch.tensor}
DEVICE, IS_CUDA = torch.Tensor.device.__get__, torch.Tensor.is_cuda.__get__


class PretendGPU(TorchFunctionMode):
    """See above. Above autograd it reads and changes the names of devices; ``Watch``, below, sees every operation."""

    def __init__(self) -> None:
        super().__init__()
        self.marks: dict[int, StorageWeakRef] = {}  # a weak reference keeps its address from being used again
        self.waits: Counter[str] = Counter()
        self.allowed: set[str] | None = None  # of the waits; none: all
        self.backward = False  # the latest backward pass is on the GPU
        self.watch = Watch(self)

    def __enter__(self) -> "PretendGPU":
        self.stack = contextlib.ExitStack()
        generator, autocast, group = torch.Generator, torch.autocast, clip_grad._group_tensors_by_device_and_dtype

        class Generator(generator):  # type: ignore[misc, valid-type]
            def __new__(cls, device: Any = "cpu") -> Any:
                self = super().__new__(cls, "cpu")
                self.where = GPU if _is_gpu(device) else CPU
                return self

            device = property(lambda self: self.where)

        def grouped(tensors: Any) -> Any:  # in C++ it sees the device that is true
            return {(lists[0][0].device, dtype): (lists, at) for (_, dtype), (lists, at) in group(tensors).items()}

        def on_cpu(kind: str, *more: Any, **options: Any) -> Any:
            return autocast("cpu", *more, **options)

        for module, name, ours in (
            (torch, "Generator", Generator),
            (torch, "autocast", on_cpu),
            (clip_grad, "_group_tensors_by_device_and_dtype", grouped),
            (torch.cuda, "get_device_name", lambda device: "a pretended GPU"),
            (torch.cuda, "get_device_capability", lambda device: (9, 0)),
        ):
            self.stack.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, ours)
        self.stack.enter_context(self.watch)
        super().__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self.stack.close()

    @contextlib.contextmanager
    def never_waiting(self, *besides: str):
        """Within this, what makes the CPU wait for the GPU raises, unless it is named."""
        self.allowed, before = set(besides), self.allowed
        try:
            yield
        finally:
            self.allowed = before

    def has(self, value: Any) -> bool:
        """Whether a tensor is on the pretended GPU."""
        if not isinstance(value, Tensor):
            return False
        mark = self.marks.get(value.untyped_storage()._cdata)
        return mark is not None and not mark.expired()

    def put(self, value: Any) -> Any:
        """Mark a tensor."""
        if isinstance(value, Tensor):
            self.marks[value.untyped_storage()._cdata] = StorageWeakRef(value.untyped_storage())
            if len(self.marks) > 20_000:
                self.marks = {key: mark for key, mark in self.marks.items() if not mark.expired()}
        return value

    def wait(self, name: str) -> None:
        """The CPU waits."""
        self.waits[name] += 1
        if self.allowed is not None and name not in self.allowed:
            raise RuntimeError(f"the CPU would wait for the GPU: {name}")

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function in NAMES:
            return function(*args, **kwargs)
        if function == DEVICE:
            return GPU if self.has(args[0]) else CPU
        if function == IS_CUDA:
            return self.has(args[0])
        if function is torch.Tensor.pin_memory:
            result = args[0].clone()
            result.pinned = True
            return result
        leaves = _leaves((args, kwargs))
        marked = any(map(self.has, leaves))
        if marked and function in (torch.Tensor.numpy, torch.Tensor.__array__):
            raise TypeError("can't convert cuda:0 device type tensor to numpy; copy it to the CPU first")
        if marked and function is torch.Tensor.tolist:
            self.wait("tolist")
            with self.watch.away():
                return function(*args, **kwargs)
        if function in (torch.Tensor.backward, torch.autograd.grad):
            self.backward = marked
        target = self.named(function, args, kwargs)
        generator = kwargs.get("generator")
        if generator is not None and generator.device != (target or (GPU if marked else CPU)):
            raise RuntimeError(f"{function.__name__}: its generator is on {generator.device}")
        if target == GPU:
            args, kwargs = tree_map(lambda leaf: CPU if _is_gpu(leaf) else leaf, (args, kwargs))
        if target is not None and function in MOVES and self.has(args[0]) != (target == GPU):
            return self.moved(function, args, kwargs, target)
        result = function(*args, **kwargs)
        return self.put(result) if target == GPU else result

    def moved(self, function: Any, args: Any, kwargs: Any, target: torch.device) -> Tensor:
        """A copy on the other device, which waits unless it is from pinned memory and says that it need not."""
        if not (target == GPU and kwargs.get("non_blocking") and getattr(args[0], "pinned", False)):
            self.wait(f"{function.__name__} {target.type}")
        with self.watch.away():
            result = function(*args, **kwargs).clone()
        return self.put(result) if target == GPU else result

    def named(self, function: Any, args: Any, kwargs: Any) -> torch.device | None:
        """The device that a call names, if it names one."""
        if function in (torch.Tensor.cpu, torch.Tensor.cuda):
            return CPU if function is torch.Tensor.cpu else GPU
        name = kwargs.get("device")
        if function is torch.Tensor.to and len(args) > 1:
            if isinstance(args[1], Tensor):
                return GPU if self.has(args[1]) else CPU
            name = args[1] if isinstance(args[1], torch.device | str) else name
        return None if name is None else GPU if _is_gpu(name) else CPU


class Watch(TorchDispatchMode):
    """Below autograd: every operation, forward and backward, with its tensors' marks."""

    def __init__(self, gpu: PretendGPU) -> None:
        super().__init__()
        self.gpu, self.off = gpu, False

    @contextlib.contextmanager
    def away(self):
        """Within this, marks are neither read nor made."""
        self.off, before = True, self.off
        try:
            yield
        finally:
            self.off = before

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if self.off:
            return function(*args, **kwargs)
        gpu, packet = self.gpu, function.overloadpacket
        leaves = _leaves((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        marked = [gpu.has(tensor) for tensor in tensors]
        if any(marked) and packet not in BETWEEN:
            if any(tensor.ndim and not m for tensor, m in zip(tensors, marked, strict=True)):
                found = [(tuple(x.shape), "cuda" if m else "cpu") for x, m in zip(tensors, marked, strict=True)]
                raise RuntimeError(f"{function}: tensors on both devices: {found}")
            masks = packet is aten.index and any(tensor.dtype in (torch.bool, torch.uint8) for tensor in tensors[1:])
            if packet in READS or masks:
                gpu.wait(str(packet))
        result = function(*args, **kwargs)
        made_by_backward = not tensors and gpu.backward and torch._C._current_graph_task_id() != -1  # zeros, mostly
        if (any(marked) and packet not in BETWEEN) or made_by_backward:
            for leaf in _leaves(result):
                gpu.put(leaf)
        return result


class PretendAccelerator:
    """Accelerate on the pretended GPU, in one process."""

    device = torch.device("cuda")  # without its number, as Accelerate has it

    def __init__(self) -> None:
        self.real = Accelerator(cpu=True, mixed_precision="no")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)

    def prepare(self, module: Any) -> Any:
        return self.real.prepare(module).to(self.device)


def _leaves(value: Any) -> list[Any]:
    """What a call was given, or gave: faster than pytree's."""
    if isinstance(value, dict):
        value = list(value.values())
    return [leaf for part in value for leaf in _leaves(part)] if isinstance(value, list | tuple) else [value]


def _is_gpu(value: Any) -> bool:
    if isinstance(value, torch.device):
        return value.type == "cuda"
    return isinstance(value, str) and value.startswith("cuda")
