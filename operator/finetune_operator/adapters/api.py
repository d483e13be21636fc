"""A thin client of the API server over JSON objects; errors become ours here and nowhere else.

It must not know what the objects mean. One request per call: nothing is retried here.
"""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from finetune_api.reasons import Reason
from finetune_operator.adapters.answers import answer_of, lines, retry_after
from finetune_operator.adapters.connection import Connection
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.refusals import Expired, Json, Request, refusal
from finetune_operator.adapters.resources import TOKEN_REVIEWS, Resource
from finetune_operator.core.errors import Conflict, Transient

_CHUNK = 100
"""Objects a page: what is parsed at once is what the process stays as large as."""
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True, kw_only=True)
class Listing:
    """A part of a list and the resourceVersion that the whole list is true for."""

    items: list[Json]
    version: int


class Api:
    """The requests that the operator makes; `timeout` in seconds holds for each but watches."""

    def __init__(
        self, connection: Connection, metrics: Metrics, *, max_connections: int, timeout: float = 30
    ) -> None:
        self._server = connection.server
        self._session = connection.session(max_connections=max_connections)
        self._timeout = timeout
        self._client_timeout = aiohttp.ClientTimeout(total=timeout)
        self._metrics = metrics

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def get(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        denied: Reason = Reason.PERMISSION_DENIED,
    ) -> Json | None:
        """One object; None if there is none."""
        asked = Request(
            verb="get", resource=resource, namespace=namespace, name=name, denied=denied
        )
        return await self._send("GET", asked)

    async def pages(
        self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> AsyncIterator[Listing]:
        """All objects of a namespace, or of the cluster, a chunk at a time, of one version.

        Raises:
            Expired: the rest of the list is not kept any more; start again.
        """
        asked = Request(verb="list", resource=resource, namespace=namespace)
        params = {"limit": str(_CHUNK), "labelSelector": labels, "fieldSelector": fields}
        while True:
            page = await self._send("GET", asked, params=params)
            if page is None:
                raise Transient(
                    Reason.API_ERROR, f"The API server does not serve {resource.plural} (yet)"
                )
            metadata = page["metadata"]
            yield Listing(items=page["items"], version=int(metadata["resourceVersion"]))
            if not metadata.get("continue"):
                return
            params["continue"] = metadata["continue"]

    async def list_all(
        self, resource: Resource, namespace: str | None, *, labels: str = "", fields: str = ""
    ) -> list[Json]:
        """As `pages`, in one list: for kinds of which there are few."""
        pages = self.pages(resource, namespace, labels=labels, fields=fields)
        return [item async for page in pages for item in page.items]

    async def create(
        self,
        resource: Resource,
        namespace: str | None,
        body: Json,
        *,
        dry_run: bool = False,
        strict: bool = False,
    ) -> Json:
        """The object as created, or, with `dry_run`, as it would be.

        `strict` refuses fields that the API server does not know, which it drops otherwise.

        Raises:
            AlreadyExists: the name is taken.
            NamespaceTerminating: its namespace is being deleted.
        """
        asked = Request(
            verb="create",
            resource=resource,
            namespace=namespace,
            name=body["metadata"].get("name", "") if "metadata" in body else "",
        )
        path = resource.path(namespace)
        params = {"dryRun": "All"} if dry_run else {}
        if strict:
            params["fieldValidation"] = "Strict"
        created = await self._send("POST", asked, body=body, path=path, params=params)
        if created is None:
            raise Transient(Reason.API_ERROR, f"The namespace or the kind does not exist ({asked})")
        return created

    async def create_subresource(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        subresource: str,
        body: Json,
        *,
        denied: Reason = Reason.PERMISSION_DENIED,
    ) -> Json | None:
        """What a POST to a subresource answers (a token, an eviction); None if no such object."""
        asked = Request(
            verb="create",
            resource=resource,
            namespace=namespace,
            name=name,
            subresource=subresource,
            denied=denied,
        )
        return await self._send("POST", asked, body=body)

    async def merge_patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Json,
        *,
        subresource: str = "",
        version: str | None = None,
    ) -> Json | None:
        """The object as patched; None if it is gone. With `version` only if nothing changed it.

        Raises:
            Conflict: it is not at `version` any more.
        """
        if version is not None:
            body = {**body, "metadata": {**body.get("metadata", {}), "resourceVersion": version}}
        asked = Request(
            verb="patch", resource=resource, namespace=namespace, name=name, subresource=subresource
        )
        return await self._send("PATCH", asked, body=body, content_type=_MERGE)

    async def delete(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        *,
        uid: str | None = None,
        propagation: str = "Background",
    ) -> bool:
        """False if there was nothing to delete, or, with `uid`, only another of that name."""
        asked = Request(verb="delete", resource=resource, namespace=namespace, name=name)
        body: Json = {"propagationPolicy": propagation}
        if uid is not None:
            body["preconditions"] = {"uid": uid}
        try:
            return await self._send("DELETE", asked, body=body) is not None
        except Conflict:
            return False

    async def review_token(self, token: str, audience: str) -> Json:
        """The status of a TokenReview: whose token this is, if it is one."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [audience]},
        }
        review = await self.create(TOKEN_REVIEWS, None, body)
        status: Json = review["status"]
        return status

    async def watch(
        self,
        resource: Resource,
        namespace: str | None,
        *,
        labels: str,
        version: int,
        seconds: int,
        silence: float,
    ) -> AsyncIterator[Json]:
        """The changes since `version`, bookmarks included; ends when the server ends it.

        Raises:
            Expired: list again.
            Transient: no connection, or nothing was heard for `silence` seconds.
        """
        asked = Request(verb="watch", resource=resource, namespace=namespace)
        params = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "labelSelector": labels,
            "resourceVersion": str(version),
            "timeoutSeconds": str(seconds),
        }
        timeout = aiohttp.ClientTimeout(total=seconds + 60, sock_read=silence)
        try:
            async with self._session.get(
                self._server + asked.path, params=params, timeout=timeout
            ) as response:
                self._count(asked, str(response.status))
                if response.status == 410:
                    raise Expired
                if response.status >= 400:
                    raise refusal(
                        asked, response.status, await answer_of(response), retry_after(response)
                    )
                async for line in lines(response.content):
                    event = json.loads(line)
                    if event["type"] == "ERROR" and event["object"].get("code") == 410:
                        raise Expired
                    if event["type"] == "ERROR":
                        raise Transient(Reason.API_ERROR, f"The watch failed ({asked})")
                    yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise self._unreachable(asked, e) from e

    async def _send(
        self,
        method: str,
        asked: Request,
        *,
        body: Json | None = None,
        content_type: str = "application/json",
        params: dict[str, str] | None = None,
        path: str | None = None,
    ) -> Json | None:
        data = None if body is None else json.dumps(body, separators=(",", ":")).encode()
        started = time.perf_counter()
        try:
            async with self._session.request(
                method,
                self._server + (path or asked.path),
                data=data,
                params=params,
                headers={"Content-Type": content_type} if data is not None else None,
                timeout=self._client_timeout,
            ) as response:
                answer = await answer_of(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise self._unreachable(asked, e) from e
        self._count(asked, str(response.status))
        self._metrics.api_seconds.labels(verb=asked.verb).observe(time.perf_counter() - started)
        if response.status == 404:
            return None
        if response.status >= 400:
            raise refusal(asked, response.status, answer, retry_after(response))
        return answer

    def _count(self, asked: Request, code: str) -> None:
        self._metrics.api_requests.labels(
            verb=asked.verb, resource=asked.resource.plural, code=code
        ).inc()

    def _unreachable(self, asked: Request, error: Exception) -> Transient:
        timed_out = isinstance(error, TimeoutError)
        self._count(asked, "timeout" if timed_out else "unreachable")
        what = (
            f"did not answer within {self._timeout:g} s"
            if timed_out
            else f"could not be reached ({type(error).__name__})"
        )
        return Transient(
            Reason.API_ERROR, f"The API server {what} ({asked}); trying again", retry_after=1
        )
