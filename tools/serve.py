"""Serve the built book, so that what a browser shows is what was built last: nothing is kept in its cache.

python tools/serve.py [PORT] [FOLDER]
"""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = Path(__file__).resolve().parents[1] / "_build" / "html"


class Fresh(SimpleHTTPRequestHandler):
    """Files, each asked for again whenever it is wanted."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()


def serve(handler: type[Fresh], port: int, folder: Path) -> None:
    """On this machine alone, until Ctrl-C."""
    with ThreadingHTTPServer(("127.0.0.1", port), partial(handler, directory=str(folder))) as server:
        print(f"http://127.0.0.1:{server.server_port}  (Ctrl-C ends it)", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    serve(Fresh, int(sys.argv[1]) if len(sys.argv) > 1 else 8000, Path(sys.argv[2]) if len(sys.argv) > 2 else HTML)
