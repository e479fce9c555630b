"""Interruptions are tested, so none may be ignored: not Ctrl-C, as in a background job, nor SIGHUP, as under nohup."""

import signal

for name, handler in (("SIGINT", signal.default_int_handler), ("SIGHUP", signal.SIG_DFL)):
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)
