"""Firefox and WebKit without a window, each by the protocol that it speaks as Debian ships it.

Firefox speaks WebDriver BiDi over a socket. WebKit speaks WebDriver over HTTP, and needs a screen: a virtual one.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import socket
from typing import Any, Protocol

from websockets.sync.client import ClientConnection, connect

SECONDS = 120  # the longest that a call may take


class Browser(Protocol):
    """What the tests ask of a browser."""

    def open(self, address: str, width: int, height: int) -> None:
        """Opens a page, and waits until it is loaded."""

    def call(self, function: str, *args: Any) -> Any:
        """Calls a JavaScript function in the page; its promise is awaited, its result comes as JSON."""

    def press(self, key: str) -> None:
        """Presses a key on what has the focus: a letter, or a code of WebDriver such as "\\ue014"."""


def source(function: str, args: tuple) -> str:
    return f"Promise.resolve(({function})(...{json.dumps(args)})).then((value) => JSON.stringify(value ?? null))"


def keystroke(key: str) -> list[dict]:
    strokes = [{"type": kind, "value": key} for kind in ("keyDown", "keyUp")]
    return [{"type": "key", "id": "keyboard", "actions": strokes}]


class Firefox:
    def __init__(self, channel: ClientConnection) -> None:
        self.channel = channel
        self.sent = 0
        self.ask("session.new", capabilities={})
        self.context = self.ask("browsingContext.getTree")["contexts"][0]["context"]

    def ask(self, method: str, **params: Any) -> dict:
        self.sent += 1
        self.channel.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            answer = json.loads(self.channel.recv(timeout=SECONDS))
            if answer.get("id") == self.sent:
                assert answer["type"] == "success", answer
                return answer["result"]

    def open(self, address: str, width: int, height: int) -> None:
        self.ask("browsingContext.setViewport", context=self.context, viewport={"width": width, "height": height})
        self.ask("browsingContext.navigate", context=self.context, url="about:blank", wait="complete")
        self.ask("browsingContext.navigate", context=self.context, url=address, wait="complete")

    def call(self, function: str, *args: Any) -> Any:
        target = {"context": self.context}
        answer = self.ask("script.evaluate", expression=source(function, args), target=target, awaitPromise=True)
        assert answer["type"] == "success", answer
        return json.loads(answer["result"]["value"])

    def press(self, key: str) -> None:
        self.ask("input.performActions", context=self.context, actions=keystroke(key))


class WebKit:
    def __init__(self, address: str, program: str) -> None:
        self.address = address
        options = {"binary": program, "args": ["--automation"]}
        session = self.ask("POST", "session", capabilities={"alwaysMatch": {"webkitgtk:browserOptions": options}})
        self.address += f"session/{session['sessionId']}/"

    def ask(self, method: str, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            self.address + path, json.dumps(body).encode(), {"Content-Type": "application/json"}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=SECONDS) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.read().decode()[:500]}") from None

    def open(self, address: str, width: int, height: int) -> None:
        self.ask("POST", "window/rect", x=0, y=0, width=width, height=height)
        self.ask("POST", "url", url="about:blank")
        self.ask("POST", "url", url=address)

    def call(self, function: str, *args: Any) -> Any:
        return json.loads(self.ask("POST", "execute/sync", script=f"return {source(function, args)}", args=[]))

    def press(self, key: str) -> None:
        self.ask("POST", "actions", actions=keystroke(key))


@contextmanager
def running(log: Path, *command: str | Path, **options: Any) -> Iterator[subprocess.Popen]:
    """A program whose words go to a file, which never fills up as a pipe would; ended at the end."""
    with log.open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


def said(process: subprocess.Popen, log: Path, pattern: str) -> str:
    """What a program has said that fits a pattern, once it is there."""
    patience = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < patience:
        if found := re.search(pattern, log.read_text()):
            return found[1]
        time.sleep(0.1)
    raise RuntimeError(f"{process.args}: did not say {pattern!r}: {log.read_text()[-500:]}")


@contextmanager
def firefox(folder: Path) -> Iterator[Browser]:
    program = shutil.which("firefox-esr") or shutil.which("firefox") or "firefox"
    log, profile = folder / "firefox.log", folder / "profile"
    profile.mkdir()
    command = (program, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0")
    with running(log, *command) as process:
        address = said(process, log, r"BiDi listening on (\S+)")
        with connect(f"{address}/session", max_size=None) as channel:
            yield Firefox(channel)


MINI = "/usr/lib/*/webkit2gtk-4.1/MiniBrowser"  # Debian has it with webkit2gtk-driver


@contextmanager
def webkit(folder: Path) -> Iterator[Browser]:
    program = next(iter(glob.glob(MINI)), MINI)
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "screen.log"
    with running(log, "Xvfb", "-displayfd", "1", "-screen", "0", "1600x1200x24", "-nolisten", "tcp") as screen:
        own = {"DISPLAY": ":" + said(screen, log, r"(?m)^(\d+)$"), "HOME": str(folder)}
        with running(folder / "webkit.log", "WebKitWebDriver", f"--port={port}", env=os.environ | own) as process:
            address = f"http://127.0.0.1:{port}/"
            wait_for(process, f"{address}status")
            browser = WebKit(address, program)
            yield browser
            browser.ask("DELETE", "")


def wait_for(process: subprocess.Popen, address: str) -> None:
    patience = time.monotonic() + SECONDS
    while process.poll() is None and time.monotonic() < patience:
        with suppress(OSError), urllib.request.urlopen(address, timeout=SECONDS):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args}: does not answer")


BROWSERS = {"firefox": firefox, "webkit": webkit}
