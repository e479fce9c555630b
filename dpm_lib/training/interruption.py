"""Ctrl-C at a moment that suits the run, not in the middle of a step."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def held() -> Iterator[list[int]]:
    """Hold Ctrl-C, SIGTERM and SIGHUP back. Yields the list of those that came; at the end the first is let through.

    Not after an error, which it would hide. A step that stops half-way has drawn its batch but not used it: a
    checkpoint of that would not resume exactly.
    """
    came: list[int] = []
    handlers = {number: signal.getsignal(number) for number in ENDINGS}
    main = threading.current_thread() is threading.main_thread()  # only there can handlers be set
    ours = {number: handler for number, handler in handlers.items() if main and callable(handler)}
    for number in ours:
        signal.signal(number, lambda number, _: came.append(number))
    try:
        yield came
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
    if came:
        signal.raise_signal(came[0])
