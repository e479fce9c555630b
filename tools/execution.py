"""Execute the chapters, several at a time, into the cache that their pages are built from.

Jupyter Book would execute them itself, one after the other. What it finds in the cache it takes as it is, and so do
the test of what the chapters print and `refresh_outputs.py`: a chapter runs once for all three. The cache knows a
chapter by its cells; what the cells import and read is hashed here, and a change in it drops the cache.
"""

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

import nbformat
from chapters import ROOT
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn, JupyterCacheAbstract
from jupyter_cache.executors.utils import ExecutionResult, single_nb_execution
from nbformat import NotebookNode

from dpm_lib.figures.scripts import NAMED

CODE = ("dpm_lib/**/*.py", "book/results/**/*", "constraints.txt")  # not what figures find beside their page
SECONDS = 600  # for one cell, on a busy machine


def digest(root: Path, patterns: tuple[str, ...]) -> str:
    """SHA-256 of the names and contents of the files under `root` that match any of the patterns."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()}):
        total.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def stale(stamp: Path, value: str) -> bool:
    return not stamp.exists() or stamp.read_text(encoding="utf8") != value


def execute(paths: Iterable[Path], root: Path = ROOT) -> Iterator[tuple[Path, ExecutionResult]]:
    """Execute those that are not in the cache, and store what ran to its end; yields each as it ends."""
    out = root / "_build"
    out.mkdir(exist_ok=True)
    if stale(out / "code.sha256", code := digest(root, CODE)):
        shutil.rmtree(out / ".jupyter_cache", ignore_errors=True)
        (out / "code.sha256").write_text(code, encoding="utf8")
    cache = get_cache(out / ".jupyter_cache")
    kernels = _environment(IPYTHONDIR=_quiet_kernels(out), **{NAMED: "named"})
    with kernels, ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
        running = {}
        for path in reversed(list(paths)):  # the last are long ones: at the end, short ones fill all cores
            notebook = nbformat.read(path, as_version=4)
            if not _known(cache, notebook):
                running[pool.submit(_run, notebook, path.parent)] = path
        for done in as_completed(running):
            if error := done.exception():
                error.add_note(f"while executing {running[done]}")
            result = done.result()
            if result.err is None:
                bundle = CacheBundleIn(result.nb, str(running[done]), data={"execution_seconds": result.time})
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)
            yield running[done], result


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    """These variables for what is started meanwhile, and then those of before."""
    before = {name: os.environ.pop(name, None) for name in values}
    os.environ |= values
    try:
        yield
    finally:
        for name, value in before.items():
            del os.environ[name]
            if value is not None:
                os.environ[name] = value


def executed(path: Path, root: Path = ROOT) -> NotebookNode:
    """The notebook with the outputs of its execution. KeyError if it was not executed as it and the library are now."""
    if stale(root / "_build" / "code.sha256", digest(root, CODE)):
        raise KeyError("the library has changed")
    cache = get_cache(root / "_build" / ".jupyter_cache")
    return cache.merge_match_into_notebook(nbformat.read(path, as_version=4))[1]


def _run(notebook: NotebookNode, folder: Path) -> ExecutionResult:
    return single_nb_execution(notebook, str(folder), SECONDS, allow_errors=False, coalesce_streams=True)


def _known(cache: JupyterCacheAbstract, notebook: NotebookNode) -> bool:
    try:
        cache.match_cache_notebook(notebook)
    except KeyError:
        return False
    return True


def _quiet_kernels(out: Path) -> str:
    """A folder of settings in which kernels report errors only, not that they talk to this machine over TCP."""
    profile = out / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n", encoding="utf8")
    return str(out / "ipython")
