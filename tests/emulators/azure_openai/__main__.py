"""`python -m azure_openai`: read the command line, serve until told to stop.

Prints one line when it listens: `listening on https://HOST:PORT`. Must not contain behaviour of
the service.
"""

import argparse
import asyncio
import signal
import ssl
import sys
from pathlib import Path

from aiohttp import web

from azure_openai.app import build_app
from azure_openai.clock import ServiceClock
from azure_openai.context import Context
from azure_openai.faults import FaultBoard
from azure_openai.identity import Directory, Federation
from azure_openai.issuer import JwksFile, JwksUrl, KeySource
from azure_openai.settings import ACCOUNT_LIMITS, Settings
from azure_openai.store import Store
from azure_openai.traffic import TrafficLog

_SETTING_FLAGS = (
    "queue_seconds",
    "step_seconds",
    "silent_seconds",
    "pausing_seconds",
    "resuming_seconds",
    "pending_polls",
)


def main() -> None:
    """Serve with the options of the command line."""
    asyncio.run(_serve(_parse()))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="azure_openai", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8443, help="0: any free port")
    parser.add_argument("--tls-cert", type=Path, help="PEM chain; without it plain HTTP")
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--control", action="store_true", help="open /_control, unauthenticated")
    parser.add_argument("--speed", type=float, default=1, help="service seconds per real second")
    parser.add_argument("--api-key", action="append", default=[], help="accepted key; repeatable")
    for name in _SETTING_FLAGS:
        default = Settings.model_fields[name].default
        flag = f"--{name.replace('_', '-')}"
        parser.add_argument(flag, type=type(default) if default else float, default=default)
    parser.add_argument(
        "--account-limits", action="store_true", help="the quotas of a real account"
    )
    parser.add_argument("--endpoint-ca-file", type=Path, help="trusted for graders' endpoints")
    identity = parser.add_argument_group("workload identity")
    identity.add_argument("--issuer", help="the 'iss' of accepted assertions")
    keys = identity.add_mutually_exclusive_group()
    keys.add_argument("--issuer-jwks-url", help="such as an API server's /openid/v1/jwks")
    keys.add_argument("--issuer-jwks-file", type=Path)
    identity.add_argument("--issuer-ca-file", type=Path, help="trusted for the URL")
    identity.add_argument("--issuer-token-file", type=Path, help="bearer token for the URL")
    identity.add_argument(
        "--federation",
        action="append",
        type=_federation,
        default=[],
        metavar="TENANT/CLIENT=SUBJECT",
        help="federated credential; repeatable",
    )
    identity.add_argument("--token-seconds", type=int, default=3600)
    return parser.parse_args()


def _federation(text: str) -> Federation:
    client, _, subject = text.partition("=")
    tenant_id, _, client_id = client.partition("/")
    if not (tenant_id and client_id and subject):
        raise argparse.ArgumentTypeError("expected TENANT/CLIENT=SUBJECT")
    return Federation(tenant_id=tenant_id, client_id=client_id, subject=subject)


def _context(options: argparse.Namespace) -> Context:
    limits = ACCOUNT_LIMITS if options.account_limits else {}
    settings = Settings(**{name: vars(options)[name] for name in _SETTING_FLAGS}, **limits)
    return Context(
        api_keys=frozenset(options.api_key),
        clock=ServiceClock(options.speed),
        settings=settings,
        store=Store(),
        faults=FaultBoard(),
        traffic=TrafficLog(),
        endpoint_ca=options.endpoint_ca_file,
        directory=Directory(
            issuer=options.issuer,
            keys=_keys(options),
            federations=options.federation,
            token_seconds=options.token_seconds,
        ),
    )


def _keys(options: argparse.Namespace) -> KeySource | None:
    if options.issuer_jwks_file is not None:
        return KeySource(JwksFile(options.issuer_jwks_file))
    if options.issuer_jwks_url is None:
        return None
    return KeySource(
        JwksUrl(
            options.issuer_jwks_url,
            ca_file=options.issuer_ca_file,
            token_file=options.issuer_token_file,
        )
    )


async def _serve(options: argparse.Namespace) -> None:
    context = _context(options)
    runner = web.AppRunner(build_app(context, controlled=options.control), shutdown_timeout=1)
    await runner.setup()
    tls = None
    if options.tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(options.tls_cert, options.tls_key)
    await web.TCPSite(runner, options.host, options.port, ssl_context=tls).start()
    port = runner.addresses[0][1]
    scheme = "http" if tls is None else "https"
    sys.stdout.write(f"listening on {scheme}://{options.host}:{port}\n")
    sys.stdout.flush()
    await _told_to_stop()
    context.faults.clear(drop=True)
    await runner.cleanup()


async def _told_to_stop() -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    main()
