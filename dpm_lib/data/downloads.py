"""Files from the network: fetched once into a folder, accepted only with the right SHA-256, and read without pickle.

MNIST (LeCun, Cortes, Burges) comes as IDX files, CIFAR-10 (Krizhevsky 2009) in its *binary* version: records of
one label byte and 3072 pixel bytes. The folder is ``$DPM_DATA`` or ``~/.cache/dpm_lib``.
"""

import gzip
import hashlib
import http.client
import os
import struct
import tarfile
import time
import urllib.request
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

MNIST = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
}
MNIST_FROM = "https://ossci-datasets.s3.amazonaws.com/mnist/"
CIFAR = {"cifar-10-binary.tar.gz": "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"}
CIFAR_FROM = "https://www.cs.toronto.edu/~kriz/"
STALE = 3600.0  # seconds
CIFAR_RECORD = 1 + 3 * 32 * 32  # bytes


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("DPM_DATA") or Path.home() / ".cache" / "dpm_lib")


def fetch(url: str, sha256: str, folder: Path | None = None, timeout: float = 30.0) -> Path:
    """The file at ``url``, from the cache or the network.

    ConnectionError where the network does not give it whole, ValueError where its SHA-256 is another; both name the
    file, and neither leaves anything behind. A cached file that has changed is refused too.
    """
    folder = cache_folder() if folder is None else folder
    path = folder / url.rsplit("/", 1)[1]
    if path.exists():
        _check(path, path, sha256, "delete it and try again")
        return path
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f".{path.name}.*.part"):  # of a download that was killed; one that lives writes all the time
        if time.time() - old.stat().st_mtime > STALE:
            old.unlink(missing_ok=True)
    partial = folder / f".{path.name}.{os.getpid()}.part"
    try:
        _download(url, partial, timeout)
        _check(partial, url, sha256, "the file there has changed, or was changed on the way")
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _download(url: str, path: Path, timeout: float) -> None:
    try:
        with urllib.request.urlopen(url, timeout=timeout) as answer, open(path, "wb") as file:
            promised = answer.headers.get("Content-Length")
            while block := answer.read(1 << 20):
                file.write(block)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise ConnectionError(f"{url}: cannot be downloaded ({error}); is there a network?") from None
    got = path.stat().st_size
    if promised is not None and (not promised.strip().isdecimal() or got != int(promised)):
        raise ConnectionError(f"{url}: the download was cut short: {got} of {promised} bytes")


def _check(path: Path, name: Path | str, sha256: str, advice: str) -> None:
    with open(path, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        raise ValueError(f"{name}: SHA-256 is {found}: need {sha256}; {advice}")


def mnist(folder: Path | None = None) -> tuple[Tensor, Tensor]:
    """MNIST's own split: 60,000 training and 10,000 test images, uint8 (n, 784)."""
    train, test = (read_idx(fetch(MNIST_FROM + name, sha256, folder)) for name, sha256 in MNIST.items())
    return train, test


def read_idx(path: Path) -> Tensor:
    """Images of a gzipped IDX file, uint8 (n, height width); ValueError where it is none, or cut short."""
    try:
        content = gzip.decompress(path.read_bytes())
        magic, n, height, width = struct.unpack(">IIII", content[:16])
    except (OSError, EOFError, zlib.error, struct.error) as error:
        raise ValueError(f"{path}: not a whole gzipped IDX file: {error}") from None
    if magic != 0x803 or len(content) != 16 + n * height * width:
        raise ValueError(f"{path}: not an IDX file of images, or cut short: magic {magic:#x}, {len(content)} bytes")
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=16).copy()).reshape(n, height * width)


def cifar10(folder: Path | None = None) -> tuple[Tensor, Tensor]:
    """CIFAR-10's own split: 50,000 training and 10,000 test images, uint8 (n, 3072), red plane first."""
    ((name, sha256),) = CIFAR.items()
    return read_cifar(fetch(CIFAR_FROM + name, sha256, folder))


def read_cifar(path: Path) -> tuple[Tensor, Tensor]:
    """Training and test images, uint8 (n, 3072), of CIFAR-10's binary tar; ValueError where it is not whole."""
    parts: dict[str, Tensor] = {}
    try:
        with tarfile.open(path) as archive:
            for member in archive:
                name = Path(member.name).name
                file = archive.extractfile(member) if name.endswith(".bin") else None
                if file is not None:
                    parts[name] = _cifar_records(file.read(), f"{path}: {name}")
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: not a whole gzipped tar: {error}") from None
    wanted = [f"data_batch_{i}.bin" for i in range(1, 6)]
    if missing := sorted({*wanted, "test_batch.bin"} - set(parts)):
        raise ValueError(f"{path}: {', '.join(missing)} missing")
    return torch.cat([parts[name] for name in wanted]), parts["test_batch.bin"]


def _cifar_records(content: bytes, name: str) -> Tensor:
    if not content or len(content) % CIFAR_RECORD:
        raise ValueError(f"{name}: {len(content)} bytes are no whole number of records of {CIFAR_RECORD}")
    records = np.frombuffer(content, np.uint8).reshape(-1, CIFAR_RECORD)
    return torch.from_numpy(records[:, 1:].copy())
