"""`python -m proxy`: join whoever asks with CONNECT to the host asked for, and log which.

Prints one line when it listens: `listening on http://HOST:PORT`; then each HOST:PORT to stderr.
"""

import argparse
import asyncio
import sys

_LONGEST = 16 * 1024


async def _join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One client, from its request until either side has nothing more to say."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        method, _, rest = head.decode("latin-1").partition(" ")
        where = rest.split(" ", 1)[0]
        sys.stderr.write(f"{where}\n")
        sys.stderr.flush()
        if method != "CONNECT":
            writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            return
        host, _, port = where.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))
    except (OSError, asyncio.IncompleteReadError):
        pass  # either side went away
    finally:
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while content := await reader.read(_LONGEST):
            writer.write(content)
            await writer.drain()
    finally:
        writer.close()


async def _serve(port: int) -> None:
    server = await asyncio.start_server(_join, "127.0.0.1", port)
    sys.stdout.write(f"listening on http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve with the options of the command line."""
    parser = argparse.ArgumentParser(prog="proxy", description=__doc__)
    parser.add_argument("--port", type=int, default=3128, help="0: any free port")
    asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
