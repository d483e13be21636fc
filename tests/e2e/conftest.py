"""A namespace for each test, two slots for training runs, and everything that is known on failure.

Tests may run side by side (pytest-xdist): locks keep training runs down to what the machine bears,
and give the whole site to a test that disturbs it.
"""

import fcntl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from support.cluster import embedded_cluster
from support.e2e import Site, Space
from support.e2e_cluster import Cluster, wait_for

_SLOTS = 2
_A_SLOT_WITHIN_S = 900.0


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, how)
        yield


@pytest.fixture(scope="session")
def locks(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "locks"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def undisturbed(locks: Path) -> Iterator[None]:
    """Nobody restarts the operator meanwhile."""
    with ExitStack() as stack:
        with _locked(locks / "gate", fcntl.LOCK_EX):  # who disturbs waits here, and is next
            stack.enter_context(_locked(locks / "site", fcntl.LOCK_SH))
        yield


@pytest.fixture
def disturbing(locks: Path) -> Iterator[None]:
    """Nobody else uses the site meanwhile."""
    with _locked(locks / "gate", fcntl.LOCK_EX), _locked(locks / "site", fcntl.LOCK_EX):
        yield


@pytest.fixture
def training(locks: Path) -> Iterator[None]:
    """One of the slots for training runs."""
    with ExitStack() as stack:
        wait_for(
            lambda: any(_taken(stack, locks / f"slot-{n}") for n in range(_SLOTS)),
            "a slot for a training run",
            within=_A_SLOT_WITHIN_S,
        )
        yield


def _taken(stack: ExitStack, path: Path) -> bool:
    with suppress(BlockingIOError):
        stack.enter_context(_locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB))
        return True
    return False


@pytest.fixture(scope="session")
def site() -> Site:
    """The installed operator."""
    return Site.installed(Cluster(embedded_cluster()))


@pytest.fixture
def lonely_space(site: Site, disturbing: None) -> Iterator[Space]:
    """A namespace for a test that disturbs the site."""
    yield from _space(site)


@pytest.fixture
def space(site: Site, undisturbed: None) -> Iterator[Space]:
    """A namespace."""
    yield from _space(site)


def _space(site: Site) -> Iterator[Space]:
    made = Space(site)
    made.set_up()
    try:
        yield made
    finally:
        made.remove()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """On failure: objects, Events and logs of the test's namespace, and the operator's log."""
    report = yield
    if report.when == "call" and report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, Space):
                report.sections.append(("cluster", value.told()))
                report.sections.append(("operator", value.site.log()))
    return report
