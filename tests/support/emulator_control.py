"""Speaks to the control API of an Azure OpenAI emulator, wherever it runs.

Every method blocks; inside a running event loop that also has to send the request which is to be
held, call `wait_until_held` through `asyncio.to_thread`. Must not start or stop the emulator.
"""

import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Literal

JOBS_PATH = "/fine_tuning/jobs$"

Moment = Literal["before", "after"]
Json = dict[str, Any]


class ControlError(Exception):
    """The control API refused; the text says why."""


class EmulatorControl:
    """What a test may do to a running emulator."""

    def __init__(self, url: str, ca: Path | None) -> None:
        """Speak to the emulator at `url` (no path), trusting `ca`."""
        self.url = url
        self.ca = ca
        self._tls = ssl.create_default_context(cafile=ca) if ca else None

    @property
    def base_url(self) -> str:
        """The v1 surface, as `openai.OpenAI(base_url=…)` wants it."""
        return f"{self.url}/openai/v1/"

    def reset(self) -> None:
        """No files, jobs, faults or requests; settings and speed as at the start."""
        self._call("POST", "reset")

    # Time and settings

    def run_at(self, speed: float) -> None:
        """Let `speed` service seconds pass per real second; 0 stops the clock."""
        self._call("POST", "clock", {"speed": speed})

    def advance(self, seconds: float) -> None:
        """Let service time pass at once."""
        self._call("POST", "clock", {"advance": seconds})

    def configure(self, **settings: object) -> None:
        """Change settings by name: queue_seconds, step_seconds, silent_seconds, pending_polls, …"""
        self._call("PATCH", "settings", settings)

    # A look behind the wire

    def jobs(self) -> list[Json]:
        """All jobs as they truly are, newest first, with `step` and `total_steps`."""
        found: list[Json] = self._call("GET", "state")["jobs"]
        return found

    def files(self) -> list[Json]:
        """All files, newest first."""
        found: list[Json] = self._call("GET", "state")["files"]
        return found

    def requests(self) -> Json:
        """`counts` per method and route, `total`, `seconds` since the start, `log`."""
        report: Json = self._call("GET", "requests")
        return report

    def forget_requests(self) -> None:
        """Count from zero again."""
        self._call("DELETE", "requests")

    # Faults; `nth` 1 is the next matching request, `times` None means from then on

    def reply(
        self,
        status: int,
        method: str,
        path: str,
        *,
        moment: Moment = "before",
        headers: dict[str, str] | None = None,
        code: str = "serviceUnavailable",
        name: str = "reply",
        nth: int = 1,
        times: int | None = 1,
    ) -> None:
        """Answer with an error, before or after the request has had its effect."""
        effect = {"kind": "reply", "status": status, "code": code, "headers": headers or {}}
        self._fault(name, method, path, moment, effect, nth, times)

    def cut(
        self,
        method: str,
        path: str,
        *,
        moment: Moment = "after",
        name: str = "cut",
        nth: int = 1,
        times: int | None = 1,
    ) -> None:
        """Close the connection without an answer."""
        self._fault(name, method, path, moment, {"kind": "cut"}, nth, times)

    def delay(
        self,
        seconds: float,
        method: str,
        path: str,
        *,
        moment: Moment = "after",
        name: str = "delay",
        nth: int = 1,
        times: int | None = 1,
    ) -> None:
        """Answer `seconds` (real) later."""
        self._fault(name, method, path, moment, {"kind": "delay", "seconds": seconds}, nth, times)

    def hold(
        self,
        method: str,
        path: str,
        *,
        moment: Moment = "after",
        name: str = "hold",
        nth: int = 1,
        times: int | None = 1,
    ) -> None:
        """Hold matching requests at a barrier called `name` until it is released."""
        self._fault(name, method, path, moment, {"kind": "hold"}, nth, times)

    def wait_until_held(self, name: str = "hold", *, timeout: float = 30) -> None:
        """Return when a request stands (or stood) at the barrier; ControlError after `timeout`."""
        self._call("GET", f"faults/{_quote(name)}/held?timeout={timeout}", timeout=timeout + 10)

    def release(self, name: str = "hold", *, drop: bool = False) -> None:
        """Open the barrier; with `drop` the held requests lose their connection.

        A dropped request that was held *before* its effect has none.
        """
        self._call("POST", f"faults/{_quote(name)}/release", {"drop": drop})

    def faults(self) -> list[Json]:
        """Each fault's `name`, and how many requests it has `seen`, `met` and is `holding`."""
        found: list[Json] = self._call("GET", "faults")["faults"]
        return found

    def clear_fault(self, name: str) -> None:
        """Take one fault back and let go whom it holds."""
        self._call("DELETE", f"faults/{_quote(name)}")

    # Single jobs

    def fail_job(self, job_id: str, message: str, *, code: str = "internalFailure") -> None:
        """Let a job that is not over fail now."""
        self._call("POST", f"jobs/{job_id}/fail", {"message": message, "code": code})

    def doom(
        self,
        stage: Literal["Validation", "Evaluation"],
        message: str,
        *,
        suffix: str = "",
        code: str = "contentFilter",
        times: int = 1,
    ) -> None:
        """Let the next jobs whose suffix matches fail before or after their training."""
        order = {"stage": stage, "message": message, "suffix": suffix, "code": code, "times": times}
        self._call("POST", "fates", order)

    def show_status(self, job_id: str, status: str | None) -> None:
        """Show a status that the job does not have; None: the true one again."""
        self._call("POST", f"jobs/{job_id}/status", {"status": status})

    def add_event(
        self,
        job_id: str,
        type_: str,
        message: str,
        data: Json | None = None,
        *,
        level: str = "info",
    ) -> None:
        """Put an event of any type into a job's log."""
        order = {"type": type_, "message": message, "data": data, "level": level}
        self._call("POST", f"jobs/{job_id}/events", order)

    def federate(self, *, tenant_id: str, client_id: str, subject: str) -> None:
        """Let `subject` get tokens for this client."""
        order = {"tenant_id": tenant_id, "client_id": client_id, "subject": subject}
        self._call("POST", "federations", order)

    def deploy(self, name: str, model: str, answers: dict[str, str] | None = None) -> None:
        """Let a model answer at once; `answers` by the user's last message come first."""
        self._call("POST", "deployments", {"name": name, "model": model, "answers": answers or {}})

    def _fault(
        self,
        name: str,
        method: str,
        path: str,
        moment: Moment,
        effect: Json,
        nth: int,
        times: int | None,
    ) -> None:
        rule = {"name": name, "method": method, "path": path, "moment": moment}
        self._call("POST", "faults", {**rule, "effect": effect, "nth": nth, "times": times})

    def _call(self, method: str, path: str, body: object = None, *, timeout: float = 10) -> Any:
        request = urllib.request.Request(
            f"{self.url}/_control/{path}",
            data=json.dumps(body or {}).encode(),
            method=method,
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=timeout, context=self._tls) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(f"{method} {path}: {error.read().decode()}") from error


def _quote(name: str) -> str:
    return urllib.parse.quote(name, safe="")
