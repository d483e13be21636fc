"""Downloads one file from a tenant's https:// URL without becoming a way into the cluster.

Every hop's address is checked after DNS, and the connection goes to the address that was
checked: never through a proxy, which would look the name up itself. Errors name hosts, never paths
or queries: those may hold signatures. Knows no rows.
"""

import asyncio
import os
import socket
import ssl
from pathlib import Path

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from finetune_api.pods import HttpsSource
from finetune_data.addresses import AddressPolicy, CheckedResolver, is_literal
from finetune_data.problems import MAX_FILE_BYTES, SourceError, check_size

MAX_REDIRECTS = 5
TIMEOUT = aiohttp.ClientTimeout(total=1800, sock_connect=15, sock_read=60)

_CHUNK = 256 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_LATER = (408, 425, 429)


def download(source: HttpsSource, directory: Path) -> Path:
    """The file behind a URL, in `directory`. Blocks; must not be called in an event loop."""
    return asyncio.run(Download(source).run(directory))


class Download:
    """One download. A resolver and a size limit can be given; trust comes from SSL_CERT_FILE."""

    def __init__(
        self,
        source: HttpsSource,
        *,
        resolver: AbstractResolver | None = None,
        max_bytes: int = MAX_FILE_BYTES,
        timeout: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._url = source.url
        self._policy = AddressPolicy.of(
            source.allowed_ranges,
            source.denied_ranges,
            os.environ.get("KUBERNETES_SERVICE_HOST", ""),
        )
        self._resolver = resolver
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def run(self, directory: Path) -> Path:
        """Follow redirects, stream into `directory`, return the file."""
        directory.mkdir(parents=True, exist_ok=True)
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(self._resolver or aiohttp.ThreadedResolver(), self._policy),
            use_dns_cache=False,
            ssl=ssl.create_default_context(),
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers={"Accept-Encoding": "identity"},
            trust_env=False,  # HTTPS_PROXY is for other requests of the pod
        ) as session:
            return await self._follow(session, directory / "data.jsonl")

    async def _follow(self, session: aiohttp.ClientSession, target: Path) -> Path:
        url = self._checked(self._url)
        for _ in range(MAX_REDIRECTS + 1):
            location = await self._get(session, url, target)
            if location is None:
                return target
            url = self._checked(location, base=url)
        raise SourceError(
            f"{url.host} redirects more than {MAX_REDIRECTS} times; give the final address", False
        )

    def _checked(self, text: str, base: URL | None = None) -> URL:
        """A URL that may be asked for. What is encoded stays so: signatures depend on it."""
        try:
            url = URL(text, encoded=text.isascii())
            url = base.join(url) if base else url
            host = url.host
        except ValueError:
            host = None
        if not host:
            raise SourceError("the address is not a valid URL; check its spelling", False)
        if url.scheme != "https":
            raise SourceError(f"{host} is asked for over {url.scheme}; only https is used", False)
        if url.user is not None or url.password is not None:
            raise SourceError(f"the address of {host} holds a user or password; remove it", False)
        self._policy.check_name(host)
        if is_literal(host):
            self._policy.check(host, host)
        return url

    async def _get(self, session: aiohttp.ClientSession, url: URL, target: Path) -> str | None:
        """Write the answer to `target`; or return where it redirects to."""
        host = str(url.host)
        try:
            async with session.get(url, allow_redirects=False) as response:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    return response.headers["Location"]
                _check_answer(host, response)
                await self._save(host, response, target)
                return None
        except (aiohttp.ClientError, TimeoutError, ssl.SSLError) as error:
            raise _explain(host, error) from error

    async def _save(self, host: str, response: aiohttp.ClientResponse, target: Path) -> None:
        check_size(host, response.content_length or 0, self._max_bytes)
        part = target.with_suffix(".part")
        size = 0
        try:
            with part.open("wb") as file:
                async for chunk in response.content.iter_chunked(_CHUNK):
                    size += len(chunk)
                    check_size(host, size, self._max_bytes)
                    file.write(chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _check_answer(host: str, response: aiohttp.ClientResponse) -> None:
    status = response.status
    if status in (401, 403):
        raise SourceError(
            f"{host} refused access ({status}); check that the address is signed and not expired",
            False,
        )
    if status == 404:
        raise SourceError(f"{host} has no such file (404); check the address", False)
    if status != 200:
        raise SourceError(f"{host} answered {status}", status in _LATER or status >= 500)
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise SourceError(f"{host} sends the file compressed; serve it as it is", False)


def _explain(host: str, error: Exception) -> SourceError:
    match error:
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError() | ssl.SSLError():
            return SourceError(
                f"the certificate of {host} is not trusted; ask for its CA in the chart's"
                " fetch.caBundle",
                False,
            )
        case aiohttp.ClientConnectorDNSError() if _no_such_name(error.os_error):
            return SourceError(f"the host {host} does not exist; check the address", False)
        case aiohttp.InvalidURL():
            return SourceError(f"{host} is not a usual form of an address; write it plainly", False)
        case TimeoutError():
            return SourceError(f"{host} did not answer in time", True)
        case aiohttp.ClientPayloadError():
            return SourceError(
                f"the connection to {host} broke off in the middle of the file", True
            )
        case _:
            return SourceError(f"{host} could not be reached", True)


def _no_such_name(error: OSError) -> bool:
    return isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
