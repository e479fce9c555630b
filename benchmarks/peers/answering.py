"""The side of a peer: it answers requests, one line of JSON each, in the environment of the library that it stands for.

Standard library alone, so that every environment can import it. `benchmarks/peer.py` is the other side.
"""

import contextlib
import json
import sys
import time
import traceback
from collections.abc import Callable
from importlib.metadata import version


def serve(answer: Callable[[dict], object], *packages: str) -> None:
    """Answer each line of standard input by ``answer(request)``; what it prints goes to standard error.

    The first line that is written says which versions of ``packages`` are here. An answer is {"found", "seconds"}, the
    processor seconds of this process that it took, or {"error"}.
    """
    out = sys.stdout
    print(json.dumps({name: version(name) for name in packages}), file=out, flush=True)
    for line in sys.stdin:
        with contextlib.redirect_stdout(sys.stderr):
            try:
                start = time.process_time()
                found = answer(json.loads(line))
                reply = {"found": found, "seconds": time.process_time() - start}
            except Exception as error:
                traceback.print_exc()
                reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=out, flush=True)
