"""Other libraries beside ours, each in an environment of its own, asked in turn with our own runs.

`peers/NAME.txt` pins what the environment of the peer NAME holds; `peers/with_NAME.py` answers its requests there. The
environment is made at the first use, in `_build/peers/NAME`.
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "benchmarks" / "peers"
CPU_BUILDS = "https://download.pytorch.org/whl/cpu"  # else pip takes gigabytes of GPU libraries with torch


class Missing(Exception):
    """The peer cannot be had here; the message says why."""


def environment(name: str) -> Path:
    """The Python of the peer's environment, made if it is not there as `peers/NAME.txt` has it. Raises Missing."""
    pins = PEERS / f"{name}.txt"
    folder = ROOT / "_build" / "peers" / name
    python, stamp = folder / "bin" / "python", folder / "pins.sha256"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    print(f"{name}: making its environment", file=sys.stderr, flush=True)
    venv.create(folder, clear=True, with_pip=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    torch = [line for line in pins.read_text().splitlines() if line.startswith("torch==")]
    if torch and sys.platform == "linux":  # where that index cannot be reached: from where all else comes from
        small = ["--no-deps", "--retries", "0", "--timeout", "15", "--index-url", CPU_BUILDS]
        subprocess.run([*install, *small, *torch], stderr=subprocess.DEVNULL)
    if subprocess.run([*install, "-r", pins]).returncode:
        raise Missing(f"{name}: pip cannot install {pins.relative_to(ROOT)}")
    stamp.write_text(wanted)
    return python


class Peer:
    """A process of the peer NAME, to be used in a with statement. Raises Missing where it cannot be had.

    ``versions``: of the peer's packages. One thread, as our side must be.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            [environment(name), PEERS / f"with_{name}.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(map(str, (PEERS, ROOT))),
                "OMP_NUM_THREADS": "1",
                "MKL_NUM_THREADS": "1",
            },
        )
        self.versions: dict[str, str] = self._line()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _line(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Missing(f"{self.name}: its process ended with status {self.process.wait()}")
        return json.loads(line)

    def ask(self, **request: Any) -> tuple[Any, float]:
        """The answer to ``request``, and the processor seconds it took. Raises RuntimeError with the peer's error."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        reply = self._line()
        if "error" in reply:
            raise RuntimeError(f"{self.name}: {reply['error']}")
        return reply["found"], reply["seconds"]


def ratios(ours: Callable[[], float], theirs: Callable[[], float], turns: int) -> dict[str, Any]:
    """Our cost over theirs, in ``turns`` pairs taken alternately after one that warms up: {ratio, range, turns}.

    The ratio is the median of the pairs' ratios; each callable gives a cost, in seconds of processor time.
    """
    found = [ours() / theirs() for _ in range(turns + 1)][1:]
    return {"ratio": statistics.median(found), "range": [min(found), max(found)], "turns": turns}
