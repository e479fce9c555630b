"""Downloads: refused unless whole and right, nothing half-written left; readers on small files of the same format."""

import gzip
import hashlib
import http.server
import io
import os
import struct
import tarfile
import threading

import pytest
import torch

from dpm_lib.data import downloads, image_datasets

CONTENT = bytes(range(256)) * 40


class Server(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if "missing" in self.path else 200)
        if "chunked" in self.path:  # of HTTP/1.1: a piece of 4096 bytes is promised, and 5 come
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"1000\r\nshort")
            return
        self.send_header("Content-Length", "much" if "odd" in self.path else str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:1000] if "short" in self.path else CONTENT)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


RIGHT = hashlib.sha256(CONTENT).hexdigest()


def test_a_file_is_fetched_once(address, tmp_path):
    path = downloads.fetch(address + "file.gz", RIGHT, tmp_path / "new")
    assert path.read_bytes() == CONTENT and [p.name for p in path.parent.iterdir()] == ["file.gz"]
    assert downloads.fetch("http://127.0.0.1:1/file.gz", RIGHT, tmp_path / "new") == path  # without the network


def test_what_a_killed_download_left_is_removed(address, tmp_path):
    """Not what another is writing now."""
    old, new = tmp_path / ".file.gz.123.part", tmp_path / ".file.gz.124.part"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    downloads.fetch(address + "file.gz", RIGHT, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [new.name, "file.gz"]


@pytest.mark.parametrize(
    ("name", "sha256", "error", "message"),
    [
        ("file.gz", "0" * 64, ValueError, "SHA-256 is .*: need 000.*; the file there has changed"),
        (
            "short.gz",
            RIGHT,
            ConnectionError,
            "short.gz: the download was cut short: 1000 of 10240 bytes",
        ),
        ("odd.gz", RIGHT, ConnectionError, "odd.gz: the download was cut short: .* of much bytes"),
        ("chunked.gz", RIGHT, ConnectionError, r"chunked\.gz: cannot be downloaded .*IncompleteRead"),
        ("missing.gz", RIGHT, ConnectionError, r"missing\.gz: cannot be downloaded .*404"),
    ],
)
def test_what_is_not_right_is_refused_and_leaves_nothing(name, sha256, error, message, address, tmp_path):
    with pytest.raises(error, match=message):
        downloads.fetch(address + name, sha256, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_without_a_network_the_error_says_so(tmp_path):
    with pytest.raises(ConnectionError, match=r"file\.gz: cannot be downloaded .*; is there a network\?"):
        downloads.fetch("http://127.0.0.1:1/file.gz", RIGHT, tmp_path)


def test_a_cached_file_that_has_changed_is_refused(tmp_path):
    (tmp_path / "file.gz").write_bytes(CONTENT[:-1])
    with pytest.raises(ValueError, match=r"file\.gz: SHA-256 is .*; delete it and try again"):
        downloads.fetch("http://127.0.0.1:1/file.gz", RIGHT, tmp_path)


def test_the_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.setenv("DPM_DATA", str(tmp_path))
    assert downloads.cache_folder() == tmp_path
    monkeypatch.delenv("DPM_DATA")
    assert downloads.cache_folder().name == "dpm_lib"


def idx(n: int, side: int = 28, magic: int = 0x803) -> bytes:
    pixels = bytes(i * 7 % 256 for i in range(n * side * side))
    return gzip.compress(struct.pack(">IIII", magic, n, side, side) + pixels)


def test_idx_files(tmp_path):
    path = tmp_path / "images.gz"
    path.write_bytes(idx(3))
    read = downloads.read_idx(path)
    assert read.shape == (3, 784) and read.dtype == torch.uint8
    assert read.flatten().tolist() == [i * 7 % 256 for i in range(3 * 784)]
    cut = gzip.compress(gzip.decompress(idx(3))[:-1])
    for content in (cut, idx(3, magic=0x801), b"no gzip", idx(3)[:-30], gzip.compress(b"short")):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"images.gz: not a"):
            downloads.read_idx(path)


def cifar(parts: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in {"batches.meta.txt": b"airplane\n", **parts}.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def record(value: int) -> bytes:
    return bytes([3]) + bytes([value]) * 1024 + bytes([value + 1]) * 1024 + bytes([value + 2]) * 1024


PARTS = {f"data_batch_{i}.bin": record(10 * i) + record(10 * i + 5) for i in range(1, 6)} | {
    "test_batch.bin": record(99)
}


def test_cifar_files(tmp_path):
    path = tmp_path / "cifar.tar.gz"
    path.write_bytes(cifar(PARTS))
    train, test = downloads.read_cifar(path)
    assert train.shape == (10, 3072) and test.shape == (1, 3072)
    assert train[:, 0].tolist() == [10, 15, 20, 25, 30, 35, 40, 45, 50, 55]
    assert train[2, [0, 1023, 1024, 2048]].tolist() == [20, 20, 21, 22]
    broken = (
        (cifar({k: v for k, v in PARTS.items() if "3" not in k}), "data_batch_3.bin missing"),
        (
            cifar(PARTS | {"test_batch.bin": record(9)[:-1]}),
            "test_batch.bin: 3072 bytes are no whole number of records",
        ),
        (cifar(PARTS)[:200], "not a whole gzipped tar"),
        (b"nothing", "not a whole gzipped tar"),
    )
    for content, message in broken:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            downloads.read_cifar(path)


def test_both_sets_are_loaded_from_the_cache(tmp_path, monkeypatch):
    """Small files of the same format in the cache, with their own checksums."""
    monkeypatch.setenv("DPM_DATA", str(tmp_path))
    files = {"train-images-idx3-ubyte.gz": idx(5), "t10k-images-idx3-ubyte.gz": idx(2)}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.setattr(downloads, "MNIST", {k: hashlib.sha256(v).hexdigest() for k, v in files.items()})
    archive = cifar(PARTS | {"test_batch.bin": record(99) + record(7)})
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(archive)
    monkeypatch.setattr(downloads, "CIFAR", {"cifar-10-binary.tar.gz": hashlib.sha256(archive).hexdigest()})
    monkeypatch.setattr(image_datasets, "ASIDE", 2)
    digits, colour = image_datasets.mnist(), image_datasets.cifar10()
    assert (len(digits.train), len(digits.validation), len(digits.test), digits.shape) == (3, 2, 2, (1, 28, 28))
    assert (len(colour.train), len(colour.validation), len(colour.test), colour.shape) == (8, 2, 2, (3, 32, 32))
