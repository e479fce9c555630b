"""Build the book with warnings as errors, and with caches that notice more than the pages.

Sphinx rebuilds a page when its source changed, and Jupyter Book executes a notebook when its cells changed.
Neither looks at what the cells import or at the scripts and styles the pages share, so both are hashed here:

- a change in `CODE` drops the execution cache;
- a change in `CODE` or `SHARED`, or a build that failed, rebuilds every page.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "book" / "_ext"))
from launch import find_repository

ROOT = Path(__file__).resolve().parent.parent
CODE = ("dpm_lib/**/*.py", "dpm_lib/**/*.js", "dpm_lib/**/*.css", "book/results/**/*", "constraints.txt")
SHARED = ("book/_static/**/*", "book/_ext/**/*.py", "_*.yml")


def digest(root: Path, patterns: tuple[str, ...]) -> str:
    """SHA-256 of the names and contents of the files under `root` that match any of the patterns."""
    total = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in root.glob(pattern) if path.is_file()}):
        total.update(f"{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def stale(stamp: Path, value: str) -> bool:
    return not stamp.exists() or stamp.read_text(encoding="utf8") != value


def quiet_kernels(out: Path) -> str:
    """A folder of settings in which kernels report errors only, not that they talk to this machine over TCP."""
    profile = out / "ipython" / "profile_default"
    profile.mkdir(parents=True, exist_ok=True)
    (profile / "ipython_kernel_config.py").write_text("c.IPKernelApp.log_level = 40\n", encoding="utf8")
    return str(out / "ipython")


def build(root: Path, extra: list[str]) -> int:
    """Run Jupyter Book on `root`, and return its exit status."""
    out = root / "_build"
    out.mkdir(exist_ok=True)
    code, code_stamp = digest(root, CODE), out / "code.sha256"
    pages = digest(root, CODE + SHARED)
    pages_stamp = out / "pages.sha256"

    if stale(code_stamp, code):
        shutil.rmtree(out / ".jupyter_cache", ignore_errors=True)
        code_stamp.write_text(code, encoding="utf8")
    fresh = ["--all"] if stale(pages_stamp, pages) else []
    pages_stamp.unlink(missing_ok=True)

    jupyter_book = Path(sys.executable).with_name("jupyter-book")
    print("Building the book. Chapters whose code changed are executed first.", flush=True)
    options = ["-W", "-n", "--keep-going", *fresh, *extra]
    environment = os.environ | {"IPYTHONDIR": quiet_kernels(out)}
    status = subprocess.run([jupyter_book, "build", str(root), *options], cwd=root, env=environment).returncode
    if status == 0:
        pages_stamp.write_text(pages, encoding="utf8")
    return status


if __name__ == "__main__":
    status = build(ROOT, sys.argv[1:])
    if status == 0:
        print(f"\nThe book: {ROOT / '_build' / 'html' / 'index.html'}\nTo read it in a browser: make serve")
        if not find_repository():
            print(
                "Its pages have no Colab and Binder buttons: the git remote `origin` names no repository on github.com."
            )
    sys.exit(status)
