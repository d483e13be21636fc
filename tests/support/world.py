"""A cluster and a hosted service in memory, and in it one operator process that may die any time.

Everything moves by chance, from one seed: pods, queues, the service, a user, watches that lag,
answers that are lost, crashes around any request. Keys are looked at only when a change or a timer
wakes them, as the real work queue does it, so that a forgotten wake-up shows as a job that never
settles.
"""

import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

from finetune_api.constants import RETRY_ANNOTATION
from finetune_api.pods import UploadTarget
from finetune_api.reasons import ConditionType, Reason
from finetune_api.status import FineTuneJobStatus
from finetune_operator.acting import Outside
from finetune_operator.adapters.queue import back_off
from finetune_operator.adapters.resources import FINETUNEJOBS, JOBS, PODS, Resource
from finetune_operator.adapters.store import Key, Store, key_of
from finetune_operator.backends.kubernetes.cluster import Cluster, Ranges
from finetune_operator.core import conditions
from finetune_operator.core.errors import Ambiguous, Conflict, OperatorError, Transient
from finetune_operator.core.manifests import Surroundings
from finetune_operator.core.plan import Policy
from finetune_operator.reconciler import Reconciler
from support.fake_api import FakeApi, Json
from support.fake_service import FakeHosted, FakeService
from support.world_motion import Motion

NAMESPACE = "team-a"
LIST_LAG = 60.0
REQUEST_TIMEOUT = 5.0
SURROUNDINGS = Surroundings(
    prepare_image="operator",
    trainer_image="trainer",
    image_pull_policy="Never",
    progress_url="https://progress",
    progress_ca="CA",
)
TARGET = UploadTarget(base_url="https://my-account.openai.azure.com/openai/v1/", token_scope="s")
_QUIET = 25
"""Steps without any motion after which nothing more is to be expected of chance."""


class Crash(BaseException):
    """The process ends here."""


class _NoEvents:
    def emit(self, obj: Json, reason: Reason, message: str, *, warning: bool = False) -> None:
        pass


class World:
    """One world; `trouble` in [0, 1] says how often things go wrong while `wild`."""

    def __init__(self, seed: int, *, trouble: float = 0.15) -> None:
        self.chance = random.Random(seed)
        self.trouble, self.wild = trouble, True
        self.time = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
        self.api = FakeApi(lambda: self.time)
        self.api.changed = self._changed
        self.api.hook = self._around_api
        self.service = FakeService(
            lambda: self.time, lambda: self.chance.uniform(0, LIST_LAG * 0.9)
        )
        self._motion = Motion(self.api, self.service, self.chance, self._unlucky, lambda: self.time)
        self.clock_set_by = timedelta(0)  # what somebody has set the wall clock forward by
        self.crashes = self.rounds = self.orphaned = 0
        self._underway: list[tuple[datetime, str]] = []  # creates that outlive their process
        self._watches: dict[str, deque[tuple[str, Json]]] = {}
        self._due: dict[Key, datetime] = {}
        self._failures: dict[Key, int] = {}
        self.start_process()

    # The operator's process

    def start_process(self) -> None:
        """A new process that knows what the API server knows, and nothing else."""
        self._watches = {"finetunejobs": deque(), "jobs": deque(), "pods": deque()}
        self._due, self._failures = {}, {}
        self.store = Store(self.wake)
        self.hosted = FakeHosted(self.service, self.wake)
        self.hosted.hook = self._around_service
        for obj in self.api.all(FINETUNEJOBS):
            self.store.put_job(obj)
        for resource in (JOBS, PODS):
            for obj in self.api.all(resource):
                self.store.put_child(resource, obj)
        outside = Outside(
            api=self.api,  # type: ignore[arg-type]
            store=self.store,
            cluster=Cluster(self.api, self.store, lambda: SURROUNDINGS, Ranges()),  # type: ignore[arg-type]
            hosted=lambda: self.hosted,
            upload_target=lambda job: TARGET,
            events=_NoEvents(),
            orphaned=self._count_orphan,
            now=lambda: self.time + self.clock_set_by,
            steady=lambda: self.time,
        )
        self.reconciler = Reconciler(outside, Policy(list_lag=LIST_LAG, deletion_grace=120))

    def _count_orphan(self) -> None:
        self.orphaned += 1

    def wake(self, key: Key) -> None:
        """Have a key looked at."""
        self._due[key] = self.time

    def _look_again(self, key: Key, seconds: float) -> None:
        self._due[key] = min(
            self._due.get(key, datetime.max.replace(tzinfo=UTC)), self.after(seconds)
        )

    def after(self, seconds: float) -> datetime:
        """So many seconds from now."""
        return self.time + timedelta(seconds=seconds)

    async def reconcile_due(self) -> bool:
        """Work on one key whose time has come; False if there is none."""
        ready = [key for key, due in self._due.items() if due <= self.time]
        if not ready:
            return False
        key = self.chance.choice(sorted(ready))
        del self._due[key]
        self.rounds += 1
        try:
            again = await self.reconciler.reconcile(key)
        except Crash:
            self.crashes += 1
            self.time = self.after(self.chance.uniform(0, 20))
            self.start_process()
            return True
        except Conflict:
            self._failed(key, first=0.1)
        except Transient as e:
            self._failed(key, at_least=e.retry_after, at_most=e.turn)
        except OperatorError as e:
            self._failed(key, at_most=e.turn)
        else:
            self._failures.pop(key, None)
            if again is not None:
                self._look_again(key, again)
        return True

    def _failed(
        self, key: Key, *, at_least: float = 0, at_most: float | None = None, first: float = 1
    ) -> None:
        self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(at_least, back_off(self._failures[key], first=first))
        if at_most is not None and at_most > 0:
            delay = min(delay, at_most)
        self._look_again(key, delay)

    # What goes wrong

    def _luck(self, probability: float) -> bool:
        return self.chance.random() < probability

    def _unlucky(self, share: float = 1.0) -> bool:
        return self.wild and self._luck(self.trouble * share)

    def _around_api(self, when: str, resource: Resource, verb: str) -> None:
        if self.wild and self._luck(0.3):
            self._deliver_some()
        if self.wild and self._luck(0.1):
            self.move()
        if self.wild and self._luck(0.1):
            self.act_as_user()
        if self._unlucky(0.15):
            raise Crash
        if self._unlucky(0.2):
            raise Transient(Reason.API_ERROR, "the API server did not answer", retry_after=1)

    def _arrive(self) -> None:
        """Requests of a dead process reach the service, at their own time."""
        for moment, marker in list(self._underway):
            if moment <= self.time:
                self._underway.remove((moment, marker))
                self.service.create(marker, moment)

    def _around_service(self, when: str, operation: str) -> None:
        self._arrive()
        if self.wild and self._luck(0.2):
            self._deliver_some()
        if self._unlucky(0.3):
            if operation == "create" and when == "before" and self._luck(0.5):
                # The request is on its way, and arrives after the death of who sent it.
                self._underway.append(
                    (self.after(self.chance.uniform(0, REQUEST_TIMEOUT)), self.hosted.sending)
                )
            raise Crash
        if not self._unlucky(0.8):
            return
        if operation == "create" and when == "after":
            self.time = self.after(self.chance.uniform(0, REQUEST_TIMEOUT))
            raise Ambiguous(Reason.CONFIRMING_SUBMISSION, "no answer")
        raise Transient(Reason.RATE_LIMITED, "too many requests", retry_after=5)

    # Watches

    def _changed(self, resource: Resource, kind: str, obj: Json) -> None:
        if resource.plural in self._watches:
            self._watches[resource.plural].append((kind, obj))

    def _deliver_some(self) -> None:
        for plural, events in self._watches.items():
            for _ in range(self.chance.randint(0, len(events))):
                self._deliver(plural, *events.popleft())

    def deliver_all(self) -> None:
        """Every watch catches up."""
        for plural, events in self._watches.items():
            while events:
                self._deliver(plural, *events.popleft())

    def _deliver(self, plural: str, kind: str, obj: Json) -> None:
        resource = {"jobs": JOBS, "pods": PODS}.get(plural)
        if resource is None and kind == "DELETED":
            self.store.drop_job(key_of(obj), obj["metadata"]["uid"])
        elif resource is None:
            self.store.put_job(obj)
        elif kind == "DELETED":
            self.store.end_child(resource, obj)
        else:
            self.store.put_child(resource, obj)

    # Everything else

    def move(self) -> None:
        """One step of everything outside the operator."""
        self._arrive()
        self._motion.step()

    # The user

    def create_job(self, manifest: Json) -> Json:
        """`kubectl apply` of something new."""
        return self.api.add(FINETUNEJOBS, NAMESPACE, manifest)

    def act_as_user(self) -> None:
        """Change one's mind about one of the jobs."""
        jobs = self.api.all(FINETUNEJOBS)
        if not jobs:
            return
        job = self.chance.choice(jobs)
        match self.chance.choice(
            ("suspend", "resume", "cancel", "uncancel", "retry", "edit", "delete")
        ):
            case "suspend":
                patch: Json = {"spec": {"suspend": True}}
            case "resume":
                patch = {"spec": {"suspend": False}}
            case "cancel":
                patch = {"spec": {"cancel": self._luck(0.3)}}
            case "uncancel":
                patch = {"spec": {"cancel": False}}
            case "retry":
                token = {RETRY_ANNOTATION: str(self.chance.randint(1, 99))}
                patch = {"metadata": {"annotations": token}}
            case "edit":
                patch = {"spec": {"activeDeadlineSeconds": self.chance.choice((None, 3600, 900))}}
            case _:
                if self._luck(0.15):
                    self.api.start_deletion(FINETUNEJOBS, job)
                return
        self.api.change(FINETUNEJOBS, job, patch)

    # Time

    async def live(self, steps: int) -> AsyncIterator[None]:
        """Let everything happen, in any order; yields after each step."""
        for _ in range(steps):
            match self.chance.choice(
                ("work", "work", "work", "move", "watch", "user", "time", "poll")
            ):
                case "work":
                    await self.reconcile_due()
                case "move":
                    self.move()
                case "watch":
                    self._deliver_some()
                case "user" if self._luck(0.4):
                    self.act_as_user()
                case "time":
                    self.time = self.after(self.chance.choice((0.5, 5, 30)))
                case "poll":
                    trouble = Transient(Reason.SERVICE_UNAVAILABLE, "it has a failure")
                    self.hosted.set_trouble(trouble if self._unlucky() else None)
                    self.hosted.poll()
            yield

    async def settle(self, most: int, check: Callable[[], None]) -> None:
        """Nothing goes wrong any more: go on until nothing is left to do but wait."""
        self.wild = False
        self.hosted.set_trouble(None)
        quiet = 0
        for _ in range(most):
            version = self.api.version, [(job.status, job.step) for job in self.service.jobs]
            self.move()
            self.deliver_all()
            self.hosted.poll()
            worked = await self.reconcile_due()
            check()
            moved = version != (self.api.version, [(j.status, j.step) for j in self.service.jobs])
            quiet = 0 if worked or moved or self._underway else quiet + 1
            if quiet > _QUIET and self.at_rest():
                return
            if quiet > _QUIET and not self._due:
                raise AssertionError(f"nothing will wake them: {self.phases()}")
            self.time = (
                min(self._due.values()) if quiet > _QUIET else self.after(0 if worked else 5)
            )
        raise AssertionError(f"never settles: {self.phases()}")

    # What is to be seen

    def statuses(self) -> list[tuple[Json, FineTuneJobStatus]]:
        """Every job with its status; raises if the schema would refuse it."""
        return [
            (obj, FineTuneJobStatus.model_validate(obj.get("status", {})))
            for obj in self.api.all(FINETUNEJOBS)
        ]

    def phases(self) -> list[tuple[str, str | None, str | None]]:
        return [
            (obj["metadata"]["name"], status.phase, status.message)
            for obj, status in self.statuses()
        ]

    def at_rest(self) -> bool:
        """Every job is over, or suspended."""
        return all(
            conditions.is_finished(status) or conditions.is_true(status, ConditionType.SUSPENDED)
            for _, status in self.statuses()
        )
