"""Files of a run: safetensors and JSON, written so that a crash leaves the old file or the new one, never half of one.

A model file holds its own recipe, so ``load_model(path)`` needs nothing else. No file is ever unpickled. A file of
tensors holds their SHA-256, so that a damaged one is noticed.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from dpm_lib.diffusion import DiffusionModel
from dpm_lib.recipes import Recipe, build


class BrokenFile(ValueError):
    """A file of a run that is missing, cut short, or not what it should be; the message names the file."""


def write_atomically(path: Path, content: bytes) -> None:
    """Write ``content`` to a temporary file beside ``path``, flush it to disk, and rename it into place.

    OSError, naming ``path``, where that fails (a full disk, say): what was there before is left as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        before = "; what was there before is kept" if path.exists() else ""
        raise OSError(error.errno, f"{path}: cannot be written: {error.strerror or error}{before}") from None
    finally:
        temporary.unlink(missing_ok=True)


def remove_temporaries(folder: Path) -> None:
    """Remove what a process that was killed while it wrote has left behind in ``folder``."""
    for temporary in folder.rglob(".*.tmp"):
        temporary.unlink(missing_ok=True)


def save_json(path: Path, record: dict[str, Any]) -> None:
    """Write a JSON object, indented, atomically."""
    write_atomically(path, (json.dumps(record, indent=1) + "\n").encode())


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; BrokenFile where there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BrokenFile(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise BrokenFile(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(record, dict):
        raise BrokenFile(f"{path}: holds no JSON object")
    return record


def load_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; a last line that was cut short is left out."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def save_tensors(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write tensors and a JSON record to one safetensors file, atomically."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps({**record, "sha256": _digest(content)})  # one entry: the order of several is not fixed
    write_atomically(path, save(content, metadata={"record": text}))


def _digest(tensors: dict[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what ``save_tensors`` wrote; BrokenFile where the file is missing, cut short, damaged or of another kind."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            record = json.loads((file.metadata() or {})["record"])
    except FileNotFoundError:
        raise BrokenFile(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise BrokenFile(f"{path}: not a whole safetensors file of ours: {error}") from None
    if not isinstance(record, dict):
        raise BrokenFile(f"{path}: its record is no JSON object")
    if record.pop("sha256", found := _digest(tensors)) != found:
        raise BrokenFile(f"{path}: is damaged: its tensors have another SHA-256 than they were written with")
    return tensors, record


def save_model(path: Path, model: DiffusionModel, recipe: Recipe, **record: Any) -> None:
    """Write a model with its recipe, and any further facts, to one safetensors file."""
    save_tensors(path, model.state_dict(), {"recipe": recipe.to_dict(), "dim": model.kernel.dim, **record})


def load_model(path: str | Path) -> tuple[DiffusionModel, Recipe]:
    """The model in a file that ``save_model`` wrote, and its recipe."""
    path = Path(path)
    tensors, record = load_tensors(path)
    try:
        recipe = Recipe.from_dict(record["recipe"])
        model = build(recipe, dim=int(record.get("dim", 2)), edges=tensors.get("reverse.edges"))
    except (KeyError, TypeError, ValueError) as error:
        raise BrokenFile(f"{path}: {error}") from None
    load_state(model, tensors, path)
    return model.requires_grad_(False), recipe


def load_state(module: torch.nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy tensors into a module; BrokenFile where names or shapes differ, or a value is NaN."""
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and torch.isnan(tensor).any():
            raise BrokenFile(f"{path}: {name} holds NaN")
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise BrokenFile(f"{path}: {' '.join(str(error).split())}") from None
