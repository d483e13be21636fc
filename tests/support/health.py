"""What a program of ours says at its health endpoints. Knows no program."""

import urllib.error
import urllib.request


def health(port: int, path: str) -> str:
    """What `path` answers on 127.0.0.1; empty if nobody answers, or with an error."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return ""
