"""The certificates that endpoints are checked against. Knows no client."""

import ssl
from functools import cache


@cache
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """The system's authorities and those of `ca_file`; loading them takes 20 ms, so it is once."""
    context = ssl.create_default_context()
    if ca_file is not None:
        context.load_verify_locations(cafile=ca_file)
    return context
