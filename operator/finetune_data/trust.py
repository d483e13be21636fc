"""Makes this process trust certificate authorities besides the system's.

By SSL_CERT_FILE, which Python's own TLS and every client of a hub read. It takes the place of the
system's file, so that both go into one. Knows no source and no host.
"""

import os
import ssl
import tempfile
from pathlib import Path


def add(authorities: Path) -> None:
    """Trust the PEM certificates of a file from now on; nothing if there is no such file."""
    if not authorities.is_file():
        return
    descriptor, name = tempfile.mkstemp(prefix="authorities-", suffix=".pem")
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(f"{_system()}\n{authorities.read_text('utf-8')}")
    os.environ["SSL_CERT_FILE"] = name


def _system() -> str:
    """The system's authorities; where it knows a folder alone, Debian keeps one file of all there.

    Empty in an image without them: then only the others are trusted.
    """
    paths = ssl.get_default_verify_paths()
    file = Path(paths.cafile or f"{paths.capath}/ca-certificates.crt")
    return file.read_text("utf-8") if file.is_file() else ""
