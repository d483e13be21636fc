"""Downloads over https:// from a real server on this machine, with DNS answers of our own."""

import asyncio
import hashlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from finetune_api.pods import HttpsSource
from finetune_data.https import MAX_REDIRECTS, Download
from finetune_data.problems import SourceError
from finetune_data.sources import fetch
from support.certificates import make_server_certificate
from support.fake_dns import FakeDns

pytestmark = pytest.mark.integration

CONTENT = b'{"messages": []}\n' * 1000
OURS = ["127.0.0.1/32"]
"""The one address that the tests' server may be reached at."""
SIGNATURE = "sig=pineapple"


@dataclass
class Site:
    """The server: where it listens, and which requests reached it."""

    port: int = 0
    ca: Path = Path()
    paths: list[str] = field(default_factory=list)

    def url(self, path: str, host: str = "data.test") -> str:
        return f"https://{host}:{self.port}{path}"


SITE = web.AppKey("site", Site)


@pytest.fixture
async def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    found = Site()
    tls = make_server_certificate(
        tmp_path / "tls", "data.test", "other.test", "127.0.0.1", "data.team-a.svc"
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tls.certificate, tls.key)
    app = web.Application()
    app[SITE] = found
    app.router.add_get("/{path:.*}", _serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    found.port, found.ca = runner.addresses[0][1], tls.ca
    monkeypatch.setenv("SSL_CERT_FILE", str(tls.ca))
    yield found
    await runner.cleanup()


async def _serve(request: web.Request) -> web.StreamResponse:
    request.app[SITE].paths.append(request.path)
    name, _, rest = request.match_info["path"].partition("/")
    if name == "to":
        # Not HTTPFound, which checks the address itself.
        return web.Response(status=302, headers={"Location": request.query["url"]})
    if name == "hops":
        left = int(rest)
        raise web.HTTPFound(f"/hops/{left - 1}" if left > 1 else "/file")
    if name == "status":
        return web.Response(status=int(rest))
    return await _ANSWERS[name](request)


async def _file(_: web.Request) -> web.StreamResponse:
    return web.Response(body=CONTENT)


async def _chunked(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(CONTENT)
    return response


async def _zipped(_: web.Request) -> web.StreamResponse:
    return web.Response(body=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})


async def _cut(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": str(len(CONTENT))})
    await response.prepare(request)
    await response.write(CONTENT[:500])
    assert request.transport is not None
    request.transport.abort()
    return response


async def _slow(_: web.Request) -> web.StreamResponse:
    await asyncio.sleep(30)
    raise AssertionError("the client should have given up")


_ANSWERS: dict[str, Callable[[web.Request], Awaitable[web.StreamResponse]]] = {
    "file": _file,
    "chunked": _chunked,
    "zipped": _zipped,
    "cut": _cut,
    "slow": _slow,
}


def dns() -> FakeDns:
    return FakeDns(
        {
            "data.test": [["127.0.0.1"]],
            "other.test": [["127.0.0.1"]],
            "inside.test": [["10.96.0.1"]],
            "metadata.test": [["169.254.169.254"]],
            "v6.test": [["fd00::1"]],
            "mixed.test": [["127.0.0.1", "10.96.0.1"]],
        }
    )


def source(url: str, allowed: list[str] = OURS) -> HttpsSource:
    return HttpsSource(url=url, allowed_ranges=allowed, denied_ranges=["203.0.114.0/24"])


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/file", id="a file"),
        pytest.param("/chunked", id="a file without a length"),
        pytest.param(f"/file?{SIGNATURE}%2B%3D", id="a signed address"),
        pytest.param("/hops/1", id="a relative redirect"),
        pytest.param(f"/hops/{MAX_REDIRECTS}", id="as many redirects as are followed"),
        pytest.param("/to?url=https://other.test:{port}/file", id="a redirect to another host"),
        pytest.param("/to?url=https://127.0.0.1:{port}/file", id="a redirect to an address"),
    ],
)
async def test_a_file_is_downloaded(site: Site, tmp_path: Path, path: str) -> None:
    url = site.url(path.replace("{port}", str(site.port)))

    file = await Download(source(url), resolver=dns()).run(tmp_path / "new" / "folder")

    assert hashlib.sha256(file.read_bytes()).digest() == hashlib.sha256(CONTENT).digest()
    assert site.paths[-1] in ("/file", "/chunked")


async def test_the_public_way_resolves_for_itself(site: Site, tmp_path: Path) -> None:
    url = site.url("/file", host="127.0.0.1")

    file = await asyncio.to_thread(fetch, source(url), tmp_path / "out")

    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("url", "want"),
    [
        pytest.param("https://inside.test:{port}/file", "inside.test is an address inside",
                     id="a name of a cluster address"),
        pytest.param("https://metadata.test/file", "metadata.test is", id="a name of metadata"),
        pytest.param("https://v6.test/file", "v6.test is", id="a name of a unique-local address"),
        pytest.param("https://mixed.test:{port}/file", "mixed.test is", id="one of two is inside"),
        pytest.param("https://169.254.169.254/", "169.254.169.254 is", id="metadata"),
        pytest.param("https://[::1]:{port}/file", "::1 is", id="loopback IPv6"),
        pytest.param("https://[::ffff:10.0.0.1]/", "is an address inside", id="a mapped address"),
        pytest.param("https://[fe80::1%25lo]/", "fe80::1%lo is", id="a zone"),
        pytest.param("https://127.0.0.2:{port}/file", "127.0.0.2 is", id="beside the exception"),
        pytest.param("https://203.0.114.9/", "203.0.114.9 is", id="the cluster's own range"),
        pytest.param("https://2130706433:{port}/file", "not a usual form", id="a decimal number"),
        pytest.param("https://127.1:{port}/file", "not a usual form", id="a short form"),
        pytest.param("https://0177.0.0.1:{port}/file", "not a usual form", id="octal"),
        pytest.param("http://data.test:{port}/file", "only https", id="http"),
        pytest.param("file:///etc/passwd", "not a valid URL", id="a file"),
        pytest.param("https://ada:secret@data.test:{port}/file", "user or password", id="a user"),
        pytest.param("https://data.test:99999/file", "not a valid URL", id="a port too large"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("redirected", [False, True], ids=["directly", "after a redirect"])
async def test_an_address_is_refused(
    site: Site, tmp_path: Path, url: str, want: str, redirected: bool
) -> None:
    first = url.replace("{port}", str(site.port))
    if redirected:
        escaped = first.replace("%", "%25").replace("+", "%2B")
        first = site.url(f"/to?url={escaped}")

    with pytest.raises(SourceError) as caught:
        await Download(source(first), resolver=dns()).run(tmp_path / "out")

    assert want in str(caught.value)
    assert not caught.value.transient
    assert "secret" not in str(caught.value)
    assert site.paths == (["/to"] if redirected else [])
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("host", "api_server"),
    [
        pytest.param("kubernetes.default.svc", "", id="a Service"),
        pytest.param("Hub.team-a.SVC.cluster.local.", "", id="a Service, in full and in capitals"),
        pytest.param("db-0.db.team-a.svc", "", id="a pod of a StatefulSet"),
        pytest.param("api.example.test", "api.example.test", id="the API server's name"),
    ],
)
async def test_a_name_of_the_cluster_is_not_even_looked_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, api_server: str
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", api_server)
    nobody = FakeDns({})

    with pytest.raises(SourceError, match="is an address inside the cluster"):
        await Download(source(f"https://{host}/x", allowed=[]), resolver=nobody).run(tmp_path)

    assert nobody.asked == []


@pytest.mark.parametrize(
    ("address", "want"),
    [
        pytest.param("127.0.0.1", None, id="the exception of the chart"),
        pytest.param("93.184.216.34", "is an address inside", id="a public one"),
        pytest.param("10.96.0.7", "is an address inside", id="another of the cluster"),
    ],
)
async def test_a_name_of_the_cluster_leads_to_the_chart_s_exceptions_alone(
    site: Site, tmp_path: Path, address: str, want: str | None
) -> None:
    names = FakeDns({"data.team-a.svc": [[address]]})
    download = Download(source(site.url("/file", host="data.team-a.svc")), resolver=names)

    if want is None:
        assert (await download.run(tmp_path / "out")).read_bytes() == CONTENT
        return
    with pytest.raises(SourceError, match=want):
        await download.run(tmp_path / "out")


@pytest.mark.parametrize("url", ["https://127.0.0.1:{port}/file", "https://data.test:{port}/file"])
async def test_the_api_server_is_no_exception(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """Although its address is within fetch.allowedRanges."""
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    target = source(url.format(port=site.port))

    with pytest.raises(SourceError, match="is an address inside the cluster"):
        await Download(target, resolver=dns()).run(tmp_path / "out")

    assert site.paths == []


@pytest.mark.parametrize("host", ["0x7f.1", "0x7f000001", "localhost"])
async def test_names_that_only_the_system_reads_as_addresses(
    site: Site, tmp_path: Path, host: str
) -> None:
    """getaddrinfo takes hexadecimal forms for 127.0.0.1: what it answers is checked."""
    with pytest.raises(SourceError, match="is an address inside"):
        await Download(source(site.url("/file", host=host), allowed=[])).run(tmp_path / "out")

    assert site.paths == []


async def test_a_name_whose_address_changes_reaches_only_what_was_checked(
    site: Site, tmp_path: Path
) -> None:
    rebinding = FakeDns({"data.test": [["127.0.0.1"], ["10.96.0.1"]]})

    file = await Download(source(site.url("/file")), resolver=rebinding).run(tmp_path / "out")

    assert file.read_bytes() == CONTENT
    assert rebinding.asked == ["data.test"]


async def test_a_name_is_checked_anew_after_a_redirect(site: Site, tmp_path: Path) -> None:
    rebinding = FakeDns({"data.test": [["127.0.0.1"]], "other.test": [["10.96.0.1"]]})
    url = site.url(f"/to?url={site.url('/file', host='other.test')}")

    with pytest.raises(SourceError, match=r"other\.test is an address inside"):
        await Download(source(url), resolver=rebinding).run(tmp_path / "out")

    assert site.paths == ["/to"]


@pytest.mark.parametrize(
    ("path", "want", "transient"),
    [
        pytest.param("/status/403", "refused access (403)", False, id="forbidden"),
        pytest.param("/status/401", "refused access (401)", False, id="unauthorised"),
        pytest.param("/status/404", "no such file (404)", False, id="not there"),
        pytest.param("/status/410", "answered 410", False, id="gone"),
        pytest.param("/status/206", "answered 206", False, id="a part only"),
        pytest.param("/status/302", "answered 302", False, id="a redirect to nowhere"),
        pytest.param("/status/429", "answered 429", True, id="too many requests"),
        pytest.param("/status/503", "answered 503", True, id="a failure of the server"),
        pytest.param("/zipped", "sends the file compressed", False, id="compressed"),
        pytest.param("/cut", "broke off in the middle", True, id="cut off"),
        pytest.param(f"/hops/{MAX_REDIRECTS + 1}", "more than 5 times", False, id="a long chain"),
        pytest.param("/slow", "did not answer in time", True, id="no answer"),
    ],
)
async def test_a_download_fails(
    site: Site, tmp_path: Path, path: str, want: str, transient: bool
) -> None:
    timeout = aiohttp.ClientTimeout(total=2, sock_read=0.3)
    url = source(f"{site.url(path)}?{SIGNATURE}")

    with pytest.raises(SourceError) as caught:
        await Download(url, resolver=dns(), timeout=timeout).run(tmp_path / "out")

    assert str(caught.value).startswith("data.test ") or "data.test" in str(caught.value)
    assert want in str(caught.value)
    assert caught.value.transient is transient
    assert SIGNATURE not in str(caught.value)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("path", ["/file", "/chunked"], ids=["said beforehand", "seen on the way"])
async def test_a_file_that_is_too_large(site: Site, tmp_path: Path, path: str) -> None:
    download = Download(source(site.url(path)), resolver=dns(), max_bytes=len(CONTENT) - 1)

    with pytest.raises(SourceError, match="larger than 0 MiB; split it"):
        await download.run(tmp_path / "out")

    assert list((tmp_path / "out").iterdir()) == []


async def test_an_address_without_a_host(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="not a valid URL"):
        await Download(source("https:///file"), resolver=dns()).run(tmp_path)


async def test_a_name_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"host gone\.test does not exist") as caught:
        await Download(source("https://gone.test/file"), resolver=dns()).run(tmp_path)

    assert not caught.value.transient


async def test_a_server_that_is_down(site: Site, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="could not be reached") as caught:
        await Download(source("https://data.test:1/file"), resolver=dns()).run(tmp_path / "out")

    assert caught.value.transient


async def test_a_certificate_that_nobody_vouches_for(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = make_server_certificate(tmp_path / "other", "elsewhere.test")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.ca))

    with pytest.raises(SourceError, match=r"certificate of data\.test is not trusted") as caught:
        await Download(source(site.url("/file")), resolver=dns()).run(tmp_path / "out")

    assert not caught.value.transient
    assert site.paths == []
