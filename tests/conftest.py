"""Interruptions are tested, so they must not be ignored, as Ctrl-C is in a job of the background, SIGHUP under nohup."""

import signal

for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
