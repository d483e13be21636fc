"""Starts an HTTP application on a port of the running event loop. Knows no application."""

import ssl

from aiohttp import web


async def serve(
    app: web.Application, *, host: str, port: int, tls: ssl.SSLContext | None = None
) -> web.AppRunner:
    """Start answering; the caller cleans the runner up, which takes at most half a second."""
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, host, port, ssl_context=tls).start()
    return runner
