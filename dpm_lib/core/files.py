"""Files of a run: safetensors and JSON, written so that a crash leaves the old file or the new one, never half of one.

No file is ever unpickled. A file of tensors holds the SHA-256 of all that is in it, so that a damaged one is noticed.
(Files of older versions hold that of the tensors alone, and are read.)
"""

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

WHOLE = "whole_sha256"  # of tensors and record; "sha256", in older files, is of the tensors alone


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
    except (OSError, ValueError, RecursionError) as error:
        raise BrokenFile(f"{path}: cannot be read as JSON: {error}") from None
    if not isinstance(record, dict):
        raise BrokenFile(f"{path}: holds no JSON object")
    return record


def load_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines; a last line that was cut short is left out. BrokenFile where another is none."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    except (OSError, ValueError) as error:
        raise BrokenFile(f"{path}: cannot be read: {error}") from None
    records = []
    for number, line in enumerate(lines, 1):
        try:
            records.append(json.loads(line))
        except (ValueError, RecursionError) as error:
            if number < len(lines) or line.endswith("}"):
                raise BrokenFile(f"{path}: line {number} is no JSON: {error}") from None
    return records


def save_picture(path: Path, image: Image.Image) -> None:
    """Write a picture as PNG, atomically."""
    content = io.BytesIO()
    image.save(content, format="PNG")
    write_atomically(path, content.getvalue())


@contextlib.contextmanager
def claimed(folder: Path | None) -> Iterator[None]:
    """Keep a run's folder, made where it is missing, from other processes until the end, however this one ends.

    BlockingIOError where another process has it, NotADirectoryError where it is a file. On systems, and disks, without
    such locks nothing is kept.
    """
    if folder is None:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(f"{folder}: is a file, not a folder for a run") from None
    place = _locked(folder)
    try:
        yield
    finally:
        if place is not None:
            os.close(place)


def _locked(folder: Path) -> int | None:
    """A descriptor of ``folder`` that holds its lock, or None where there are no locks."""
    try:
        import fcntl  # not on Windows

        place = os.open(folder, os.O_RDONLY)
    except (ImportError, OSError):
        return None
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(place)
        raise BlockingIOError(f"{folder}: another process is at work on this run") from None
    except OSError:
        os.close(place)
        return None
    return place


def save_tensors(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Write tensors of any shape and a JSON record to one safetensors file, atomically."""
    content = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    record = json.loads(json.dumps(record))  # as it is read again
    text = json.dumps({**record, WHOLE: _digest(content, record)})  # one entry: the order of several is not fixed
    write_atomically(path, save(content, metadata={"record": text}))


def _digest(tensors: dict[str, Tensor], record: dict[str, Any] | None = None) -> str:
    """SHA-256 of tensors with their names, and, with a ``record``, of that and of types and shapes."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        if record is not None:
            digest.update(f" {tensors[name].dtype} {tuple(tensors[name].shape)} ".encode())
        digest.update(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    if record is not None:
        digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors, of any shape, and the record that ``save_tensors`` wrote.

    BrokenFile where the file is missing, cut short, damaged or of another kind.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            record = json.loads((file.metadata() or {})["record"])
    except FileNotFoundError:
        raise BrokenFile(f"{path}: no such file") from None
    except (SafetensorError, OSError, ValueError, KeyError, RecursionError) as error:
        if path.is_dir():
            raise BrokenFile(f"{path}: is a folder: name a file in it") from None
        raise BrokenFile(f"{path}: not a whole safetensors file of ours: {error}") from None
    if not isinstance(record, dict):
        raise BrokenFile(f"{path}: its record is no JSON object")
    promised, tensors_alone = record.pop(WHOLE, None), record.pop("sha256", None)
    found = _digest(tensors, record) if promised else _digest(tensors)
    if (promised or tensors_alone) != found:
        raise BrokenFile(f"{path}: is damaged: it has another SHA-256 than it was written with, or none")
    return tensors, record
