"""Interruptions are tested, so Ctrl-C must not be ignored, as it is in a job that a shell started in the background."""

import signal

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
