"""Posts progress to the operator in Kubeflow Trainer's wire format, from a thread of its own.

Training never waits for it and never fails with it. Must not know how training works.
"""

import os
import ssl
import threading
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from finetune_api.pods import ProgressMetric, ProgressUpdate, TrainerStatus
from finetune_api.status import Resolved
from finetune_trainer import log

URL_VARIABLE = "KUBEFLOW_TRAINER_SERVER_URL"
CA_VARIABLE = "KUBEFLOW_TRAINER_SERVER_CA_CERT"
TOKEN_VARIABLE = "KUBEFLOW_TRAINER_SERVER_TOKEN"
INTERVAL_SECONDS = 5.0
TIMEOUT_SECONDS = 5.0

Figures = Mapping[str, str | int | float | None]


class Progress:
    """The newest figures, sent at most every INTERVAL_SECONDS; older ones are dropped.

    A figure stays until another value, or None, is told; the percentage never falls.
    """

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._url = environment.get(URL_VARIABLE)
        self._ca_file = environment.get(CA_VARIABLE)
        self._token_file = environment.get(TOKEN_VARIABLE)
        self._percent = 0
        self._remaining: float | None = None
        self._figures: dict[str, str | int | float | None] = {}
        self._resolved: dict[str, Resolved] = {}
        self._newest: bytes | None = None
        self._changed = threading.Condition()
        self._closing = False
        self._thread = threading.Thread(target=self._send_all, name="progress", daemon=True)
        if self._url:
            self._thread.start()

    def post(self, percent: int, remaining: float | None, metrics: Figures) -> None:
        """Hand over figures; returns at once. `remaining` is in seconds."""
        self._percent, self._remaining = max(self._percent, percent), remaining
        self.add(metrics)

    def settle(self, resolved: dict[str, Resolved]) -> None:
        """Hand over the settings that were decided; they go along with all that follows."""
        self._resolved = resolved
        self.add({})

    def add(self, metrics: Figures) -> None:
        """Hand over more figures, with the percentage and the time that remain as they are."""
        self._figures |= metrics
        status = _status(self._percent, self._remaining, self._figures)
        update = ProgressUpdate(trainer_status=status, resolved=self._resolved)
        with self._changed:
            self._newest = update.model_dump_json(exclude_none=True).encode()
            self._changed.notify()

    def close(self) -> None:
        """Send what is left, waiting no longer than one request takes."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._url:
            self._thread.join(TIMEOUT_SECONDS)

    def _send_all(self) -> None:
        while (body := self._take()) is not None:
            self._send(body)
            with self._changed:
                self._changed.wait_for(lambda: self._closing, INTERVAL_SECONDS)

    def _take(self) -> bytes | None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing or self._newest is not None)
            body, self._newest = self._newest, None
            return body

    def _send(self, body: bytes) -> None:
        assert self._url is not None
        try:
            headers = {"Content-Type": "application/json", **self._authorization()}
            request = urllib.request.Request(self._url, body, headers, method="POST")
            with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS, context=self._tls()):
                pass
        except (OSError, ValueError) as error:
            log.event(
                "progress-lost",
                problem=f"{type(error).__name__}: {error}",
                url=self._url,
                advice="Training goes on. Check that this pod may reach that Service (DNS,"
                " NetworkPolicy), that the operator runs, and that it made the certificate.",
            )

    def _tls(self) -> ssl.SSLContext | None:
        # Read anew for each request: both files rotate.
        return ssl.create_default_context(cafile=self._ca_file) if self._ca_file else None

    def _authorization(self) -> dict[str, str]:
        if not self._token_file:
            return {}
        return {"Authorization": f"Bearer {Path(self._token_file).read_text().strip()}"}


def _status(percent: int, remaining: float | None, metrics: Figures) -> TrainerStatus:
    return TrainerStatus(
        progress_percentage=percent,
        estimated_remaining_seconds=None if remaining is None else max(0, round(remaining)),
        metrics=[
            ProgressMetric(name=name, value=_shown(value))
            for name, value in metrics.items()
            if value is not None
        ],
        last_updated_time=datetime.now(UTC).isoformat(),
    )


def _shown(value: str | int | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
