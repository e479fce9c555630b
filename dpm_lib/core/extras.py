"""What only figures, some pictures and diffusers need is installed by extras, which are named where it is missing."""

from collections.abc import Iterator
from contextlib import contextmanager


class NotInstalled(ModuleNotFoundError):
    """A module is missing that an extra would have brought; the message names both."""


@contextmanager
def extra(name: str) -> Iterator[None]:
    """Imports in this block are of packages that come with the extra ``name``; NotInstalled where one is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        hint = f'{package}: is not installed; it comes with the extra {name}: pip install "dpm_lib[{name}]"'
        raise NotInstalled(hint, name=error.name) from None
