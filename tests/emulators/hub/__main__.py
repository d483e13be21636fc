"""`python -m hub --root DIR`: read the command line, serve until told to stop.

Prints one line when it listens: `listening on http://HOST:PORT`. Must not know repositories.
"""

import argparse
import socket
import ssl
import sys
from pathlib import Path

from aiohttp import web

from hub.app import Access, build_app
from hub.repository import Shelf


def main() -> None:
    """Serve with the options of the command line."""
    _serve(_parse())


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="hub", description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="holds models/ and datasets/")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="0: any free port")
    parser.add_argument("--tls-cert", type=Path, help="PEM chain; without it plain HTTP")
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--gated", action="append", default=[], metavar="ORG/NAME")
    parser.add_argument("--token", action="append", default=[], help="may read gated ones")
    parser.add_argument("--visitor-token", action="append", default=[], help="may not")
    return parser.parse_args()


def _serve(options: argparse.Namespace) -> None:
    access = Access(
        gated=frozenset(options.gated),
        tokens=frozenset(options.token),
        visitor_tokens=frozenset(options.visitor_token),
    )
    tls = None
    if options.tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    # It listens from here on: who reads the line below may connect at once.
    listening = socket.create_server((options.host, options.port))
    scheme = "http" if tls is None else "https"
    sys.stdout.write(f"listening on {scheme}://{options.host}:{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    app = build_app(Shelf(options.root), access)
    web.run_app(app, sock=listening, ssl_context=tls, shutdown_timeout=1, print=None)


if __name__ == "__main__":
    main()
