"""Chromium without a window, by Playwright: for the tests, for what is printed, and for what is measured."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Error, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BROWSERS = ("chromium-headless-shell", "google-chrome", "chromium")  # the first has no interface: twice as fast


class NoChromium(RuntimeError):
    """There is no Chromium, or it does not start."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The first of `BROWSERS` that is installed, else Playwright's own. Raises `NoChromium`."""
    with sync_playwright() as playwright:
        path = next(filter(None, map(shutil.which, BROWSERS)), None)
        try:
            browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        except Error as error:
            raise NoChromium(
                f"Chromium: {path or 'not found'}: need one that starts, such as Debian's chromium-headless-shell, "
                f"or the one of `playwright install chromium`.\n{error.message.splitlines()[0]}"
            ) from None
        with browser:
            yield browser
