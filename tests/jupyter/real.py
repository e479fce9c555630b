"""A real JupyterLab and a real Notebook on the loopback, with settings of their own and a copy of the book."""

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from playwright.sync_api import ElementHandle, Page

ROOT = Path(__file__).parents[2]
PLUGIN = "@jupyterlab/apputils-extension"
SETTINGS = {"notification": {"fetchNews": "false", "checkForUpdates": False}}  # else a question covers the page
ADDRESS = {"lab": "lab/tree", "notebook": "notebooks"}


class Server:
    """One Jupyter; ``open`` shows a notebook of its folder ``root`` in it."""

    def __init__(self, app: str, home: Path, root: Path, without: tuple[str, ...] = ()) -> None:
        self.app, self.root, self.token = app, root, secrets.token_hex()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        places = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        places += ("JUPYTERLAB_SETTINGS_DIR", "JUPYTERLAB_WORKSPACES_DIR")
        own = {name: str(home / name.lower()) for name in places}
        settings = Path(own["JUPYTERLAB_SETTINGS_DIR"]) / PLUGIN
        settings.mkdir(parents=True)
        for name, values in SETTINGS.items():
            (settings / f"{name}.jupyterlab-settings").write_text(json.dumps(values), encoding="utf-8")
        page = Path(own["JUPYTER_CONFIG_DIR"]) / "labconfig" / "page_config.json"
        page.parent.mkdir(parents=True)
        page.write_text(json.dumps({"disabledExtensions": dict.fromkeys(without, True)}), encoding="utf-8")
        options = {
            "ServerApp.ip": "127.0.0.1",
            "ServerApp.port": self.url.rsplit(":", 1)[1],
            "ServerApp.port_retries": 0,
            "ServerApp.root_dir": root,
            "ServerApp.open_browser": False,
            "ServerApp.allow_root": True,
            "IdentityProvider.token": self.token,
            "LabServerApp.expose_app_in_browser": True,
        }
        module = {"lab": "jupyterlab", "notebook": "notebook"}[app]
        command = [sys.executable, "-m", module, *(f"--{name}={value}" for name, value in options.items())]
        self.log = home / "server.log"
        with self.log.open("w") as log:
            environment = os.environ | own | {"JUPYTER_PREFER_ENV_PATH": "1", "OMP_NUM_THREADS": "1"}
            self.process = subprocess.Popen(command, env=environment, cwd=home, stdout=log, stderr=log)

    def ask(self, path: str, method: str = "GET") -> object:
        headers = {"Authorization": f"token {self.token}"}
        request = urllib.request.Request(f"{self.url}/{path}", headers=headers, method=method)
        with urllib.request.urlopen(request) as answer:
            return json.loads(answer.read() or "null")

    def wait(self) -> None:
        patience = time.monotonic() + 300
        while time.monotonic() < patience:
            with suppress(urllib.error.URLError):
                self.ask("api/status")
                return
            assert self.process.poll() is None, self.log.read_text()
            time.sleep(0.1)
        raise AssertionError(self.log.read_text())

    def shut_kernels_down(self) -> None:
        for session in self.ask("api/sessions"):
            self.ask(f"api/sessions/{session['id']}", "DELETE")

    def address(self, notebook: str) -> str:
        return f"{self.url}/{ADDRESS[self.app]}/{notebook}?token={self.token}"


def copy_of_the_book(folder: Path) -> Path:
    """A folder with the notebooks and what they read."""
    shutil.copytree(ROOT / "book", folder / "book", ignore=shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints"))
    return folder


@contextmanager
def started(app: str, folder: Path, without: tuple[str, ...] = ()) -> Iterator[Server]:
    server = Server(app, folder, copy_of_the_book(folder / "copy"), without)
    try:
        server.wait()
        yield server
    finally:
        with suppress(Exception):
            server.shut_kernels_down()
        server.process.terminate()
        server.process.wait(30)


NOTEBOOK = "jupyterapp.shell.currentWidget"
RUNNING = f"() => {NOTEBOOK}.sessionContext.session?.kernel?.connectionStatus === 'connected'"
STATE = f"""() => {{
  const {{ content }} = {NOTEBOOK};
  const cells = content.widgets.map((cell) => [cell.model.type, cell.model.sharedModel.source]);
  return {{ cells, active: content.activeCellIndex, mode: content.mode,
            dialogs: document.querySelectorAll(".jp-Dialog").length }};
}}"""
OUTPUTS = f"() => {NOTEBOOK}.content.widgets.map((cell) => cell.model.outputs?.toJSON() ?? null)"
VIEW = "application/vnd.jupyter.widget-view+json"


class Visit:
    """A notebook open in a Jupyter. Cells are counted from 0; those far off the screen are not in the page."""

    def __init__(self, server: Server, page: Page, notebook: str) -> None:
        self.server, self.page, self.errors = server, page, []
        page.set_default_timeout(120_000)
        page.set_default_navigation_timeout(300_000)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", lambda m: self.errors.append(f"{m.location}: {m.text}") if m.type == "error" else None)
        page.goto(server.address(notebook), wait_until="commit")
        page.wait_for_selector(".jp-NotebookPanel .jp-Cell", state="attached", timeout=300_000)
        page.wait_for_function(RUNNING, timeout=300_000)

    def run(self, command: str) -> None:
        self.page.evaluate(f"() => jupyterapp.commands.execute('{command}')")

    def state(self) -> dict:
        """The cells, which of them is active, the mode, and how many questions Jupyter asks."""
        return self.page.evaluate(STATE)

    def outputs(self) -> list[list[dict] | None]:
        """Of each cell; None for text."""
        return self.page.evaluate(OUTPUTS)

    def figures(self) -> list[int]:
        """The cells that show a figure."""
        shown = self.outputs()
        return [i for i, outputs in enumerate(shown) if any(VIEW in output.get("data", {}) for output in outputs or [])]

    def show(self, cell: int) -> ElementHandle:
        """Scrolls to the cell, and returns it."""
        self.page.evaluate(f"(i) => {{ {NOTEBOOK}.content.scrollToItem(i); }}", cell)
        node = self.page.evaluate_handle(f"(i) => {NOTEBOOK}.content.widgets[i].node", cell).as_element()
        self.page.wait_for_function("(node) => node.isConnected", arg=node)
        return node
