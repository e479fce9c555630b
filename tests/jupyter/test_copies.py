"""The copies of the chapters as their readers run them: on a bare machine as Colab's, and in marimo.

It installs what it needs into an environment of its own, and looks at the last commit: that is what the copies fetch.
"""

import os
import re
import subprocess
import venv
from contextlib import suppress
from pathlib import Path

import nbformat
import pytest
from chapters import ROOT
from launch import Repository
from notebook_copies import colab_copies, download_copies

pytestmark = pytest.mark.timeout(3600)

ADDRESS = "https://github.com/grace/fork"  # which git is told to look for on this machine
SMALL = "https://download.pytorch.org/whl/cpu"


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


class Machine:
    """A Python with a kernel and PyTorch, as Colab has, and none of ours; and the repository, as if it were online."""

    def __init__(self, home: Path) -> None:
        self.home = home
        run("git", "clone", "-q", "--bare", ROOT, home / "served.git", cwd=home)
        commit = run("git", "rev-parse", "HEAD", cwd=ROOT).strip()
        self.repository = Repository("grace", "fork", commit)
        venv.create(home / "python", with_pip=True)
        self.bin = home / "python" / ("Scripts" if os.name == "nt" else "bin")
        git = {"COUNT": "1", "KEY_0": f"url.{(home / 'served.git').as_uri()}.insteadOf", "VALUE_0": ADDRESS}
        places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        self.env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
        self.env |= {f"GIT_CONFIG_{name}": value for name, value in git.items()}
        self.env |= {name: str(home / name.lower()) for name in places}
        self.env |= {"PATH": os.pathsep.join([str(self.bin), os.environ["PATH"]]), "OMP_NUM_THREADS": "1"}
        torch = re.search(r"^torch==\S+", (ROOT / "constraints.txt").read_text(encoding="utf8"), re.M)[0]
        with suppress(AssertionError):  # as in the Makefile: a small build where there is one
            self.install("--no-deps", "--retries=0", "--timeout=15", f"--index-url={SMALL}", torch)
        self.install(torch, "ipykernel", "ipywidgets", "nbclient")

    def install(self, *arguments: str) -> None:
        self.python("-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments)

    def python(self, *arguments: str | Path, cwd: Path | None = None) -> str:
        return run(self.bin / "python", *arguments, cwd=cwd or self.home, env=self.env)

    def execute(self, notebook: Path) -> nbformat.NotebookNode:
        """The notebook, run whole in its folder; a cell that fails is an error."""
        run(self.bin / "jupyter-execute", "--inplace", "--timeout=1200", notebook, cwd=notebook.parent, env=self.env)
        return nbformat.read(notebook, as_version=4)


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    return Machine(tmp_path_factory.mktemp("machine"))


@pytest.fixture(scope="session")
def colab(machine: Machine) -> Path:
    colab_copies(machine.home / "colab", machine.repository)
    return machine.home / "colab" / "book"


@pytest.fixture(scope="session")
def download(machine: Machine) -> Path:
    """The copies to download; the library is installed for them."""
    download_copies(machine.home / "download", machine.repository)
    source = machine.home / "source"
    run("git", "clone", "-q", machine.home / "served.git", source, cwd=machine.home)
    machine.install(f"{source}[all]")
    return machine.home / "download"


def is_whole(notebook: nbformat.NotebookNode) -> bool:
    """Did all cells run, and all figures appear?"""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    kinds = {kind for cell in cells for output in cell.outputs for kind in output.get("data", {})}
    return all(cell.execution_count for cell in cells) and "application/vnd.jupyter.widget-view+json" in kinds


@pytest.mark.parametrize("page", ["01-sampling", "06-swiss-roll"])
def test_a_copy_runs_as_on_colab(machine, colab, page, tmp_path):
    notebook = Path((colab / f"{page}.ipynb").rename(tmp_path / "copy.ipynb"))
    executed = machine.execute(notebook)
    assert is_whole(executed)
    folder = tmp_path / "book-source"
    assert run("git", "rev-parse", "HEAD", cwd=folder).strip() == machine.repository.commit
    installed = machine.python("-c", "import dpm_lib; print(dpm_lib.__file__)")
    assert Path(installed.strip()).is_relative_to(machine.home / "python"), "the first cell installs the library"


def test_a_downloaded_copy_runs_anywhere(machine, download, tmp_path):
    notebook = Path((download / "01-sampling.ipynb").rename(tmp_path / "copy.ipynb"))
    assert is_whole(machine.execute(notebook))


def test_marimo_takes_a_copy(machine, download, tmp_path):
    machine.install("marimo")
    machine.python("-m", "marimo", "convert", download / "02-chains.ipynb", "-o", tmp_path / "chapter.py")
    machine.python(tmp_path / "chapter.py", cwd=tmp_path)
    machine.python("-m", "marimo", "export", "html", tmp_path / "chapter.py", "-o", tmp_path / "chapter.html")
    assert "Chains that forget" in (tmp_path / "chapter.html").read_text(encoding="utf8")
