"""Receives the progress of training pods, in Kubeflow Trainer's wire format.

A report counts only if its token proves which pod sends it, and that pod belongs to a child Job of
the FineTuneJob that the URL names. It must not know what becomes of a report.
"""

import asyncio
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from aiohttp import web
from pydantic import ValidationError

from finetune_api.constants import LABEL_JOB_UID, PROGRESS_AUDIENCE
from finetune_api.pods import ProgressUpdate
from finetune_operator.adapters.metrics import Metrics
from finetune_operator.adapters.refusals import Json
from finetune_operator.adapters.resources import JOBS, PODS
from finetune_operator.adapters.store import Key, Store
from finetune_operator.core.errors import OperatorError
from finetune_operator.core.observed import ReportedProgress

logger = logging.getLogger(__name__)

PATH = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/{namespace}/trainjobs/{name}/status"
_BODY_LIMIT = 64 * 1024
_TRUSTED_SECONDS = 60.0
_TRUSTED_TOKENS = 10_000
_REVIEWS_AT_ONCE = 4
_POD_NAME = "authentication.kubernetes.io/pod-name"
_POD_UID = "authentication.kubernetes.io/pod-uid"


class TokenApi(Protocol):
    """What checking a token needs of the API server."""

    async def review_token(self, token: str, audience: str, /) -> Json:
        """The status of a TokenReview."""


@dataclass(frozen=True, kw_only=True)
class Sender:
    """The pod that a token was made for."""

    namespace: str
    pod_name: str
    pod_uid: str


class Tokens:
    """Who sends: asks the API server, and believes a good answer for a minute."""

    def __init__(self, api: TokenApi, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._api = api
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[float, Sender]] = OrderedDict()
        self._reviews = asyncio.Semaphore(_REVIEWS_AT_ONCE)

    async def sender(self, token: str) -> Sender | None:
        """The pod that the token proves; None if it proves nothing."""
        digest = hashlib.sha256(token.encode()).digest()
        until, sender = self._known.get(digest, (0.0, None))
        if sender is not None and self._clock() < until:
            return sender
        async with self._reviews:
            sender = _sender(await self._api.review_token(token, PROGRESS_AUDIENCE))
        if sender is not None:
            self._known[digest] = (self._clock() + _TRUSTED_SECONDS, sender)
            self._known.move_to_end(digest)
            if len(self._known) > _TRUSTED_TOKENS:
                self._known.popitem(last=False)
        return sender


def _sender(review: Json) -> Sender | None:
    if not review.get("authenticated") or PROGRESS_AUDIENCE not in review.get("audiences", ()):
        return None
    user = review["user"]
    kind, _, account = user["username"].rpartition("serviceaccount:")
    extra = user.get("extra", {})
    if kind != "system:" or _POD_NAME not in extra or _POD_UID not in extra:
        return None
    return Sender(
        namespace=account.partition(":")[0],
        pod_name=extra[_POD_NAME][0],
        pod_uid=extra[_POD_UID][0],
    )


class ProgressEndpoint:
    """Checks reports, keeps the newest, and wakes its key at most every `interval` seconds."""

    def __init__(
        self,
        tokens: Tokens,
        store: Store,
        wake_after: Callable[[Key, float], None],
        metrics: Metrics,
        *,
        interval: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._wake_after = wake_after
        self._metrics = metrics
        self._interval = interval
        self._clock = clock
        self._woken: OrderedDict[str, float] = OrderedDict()

    def app(self) -> web.Application:
        """The HTTP application."""
        app = web.Application(client_max_size=_BODY_LIMIT)
        app.add_routes([web.post(PATH, self._post)])
        return app

    async def _post(self, request: web.Request) -> web.Response:
        try:
            await self._receive(request)
        except web.HTTPException as e:
            self._metrics.progress_reports.labels(code=str(e.status)).inc()
            return web.json_response({"message": e.text}, status=e.status)
        except OperatorError as e:
            logger.warning("A report's token could not be checked: %s", e)
            self._metrics.progress_reports.labels(code="503").inc()
            return web.json_response({"message": "try again later"}, status=503)
        self._metrics.progress_reports.labels(code="200").inc()
        return web.json_response({})

    async def _receive(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise web.HTTPUnauthorized(text="a Bearer token is needed")
        update = _update(await request.read())
        sender = await self._tokens.sender(token)
        if sender is None:
            raise web.HTTPUnauthorized(
                text=f"the token must be bound to a pod, for the audience {PROGRESS_AUDIENCE}"
            )
        key = Key(request.match_info["namespace"], request.match_info["name"])
        uid, job_uid = self._origin(key, sender)
        self._store.put_progress(
            uid,
            ReportedProgress(
                job_uid=job_uid,
                status=update.trainer_status,
                resolved=update.resolved,
                received_at=datetime.now(UTC),
            ),
        )
        self._wake(key, uid)

    def _origin(self, key: Key, sender: Sender) -> tuple[str, str]:
        """The uids of FineTuneJob and child Job, if pod, child Job and FineTuneJob fit."""
        refused = web.HTTPForbidden(text=f"this pod does not belong to FineTuneJob {key}")
        job = self._store.job(key)
        pod = self._store.child(PODS, Key(sender.namespace, sender.pod_name))
        if sender.namespace != key.namespace or job is None or pod is None:
            raise refused
        uid: str = job["metadata"]["uid"]
        child = self._owner_of(pod)
        labels = pod["metadata"].get("labels", {})
        if (
            pod["metadata"]["uid"] != sender.pod_uid
            or labels.get(LABEL_JOB_UID) != uid
            or child is None
            or _controller(child).get("uid") != uid
        ):
            raise refused
        return uid, child["metadata"]["uid"]

    def _owner_of(self, pod: Json) -> Json | None:
        owner = _controller(pod)
        if owner.get("kind") != "Job":
            return None
        child = self._store.child(JOBS, Key(pod["metadata"]["namespace"], owner["name"]))
        return child if child and child["metadata"]["uid"] == owner["uid"] else None

    def _wake(self, key: Key, uid: str) -> None:
        now = self._clock()
        woken = self._woken.get(uid, float("-inf"))
        if woken > now:
            return
        at = max(now, woken + self._interval)
        self._woken[uid] = at
        self._woken.move_to_end(uid)
        if len(self._woken) > _TRUSTED_TOKENS:
            self._woken.popitem(last=False)
        self._wake_after(key, at - now)


def _update(body: bytes) -> ProgressUpdate:
    try:
        return ProgressUpdate.model_validate_json(body)
    except ValidationError as e:
        raise web.HTTPUnprocessableEntity(
            text=f"not a progress update: {e.error_count()} fields cannot be used"
        ) from None


def _controller(obj: Json) -> dict[str, Any]:
    for owner in obj["metadata"].get("ownerReferences", ()):
        if owner.get("controller"):
            return dict(owner)
    return {}
