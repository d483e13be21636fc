"""A namespace for each test, two slots for training runs, and everything that is known on failure.

Tests may run side by side (pytest-xdist; `--dist worksteal` is the quickest).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import e2e_locks
from support.cluster import embedded_cluster
from support.e2e import Site, Space
from support.e2e_cluster import Cluster


@pytest.fixture(scope="session")
def locks(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of this session share."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "locks"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def training(locks: Path) -> Iterator[None]:
    """One of the slots for training runs."""
    with e2e_locks.slot(locks):
        yield


@pytest.fixture(scope="session")
def site() -> Site:
    """The installed operator."""
    return Site.installed(Cluster(embedded_cluster()))


@pytest.fixture
def space(site: Site, locks: Path) -> Iterator[Space]:
    """A namespace of one's own."""
    with e2e_locks.undisturbed(locks), Space(site) as made:
        yield made


@pytest.fixture
def lonely_space(site: Site, locks: Path) -> Iterator[Space]:
    """The same, for a test that disturbs the site: nobody else is there."""
    with e2e_locks.alone(locks), Space(site) as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first: at the end, everybody would wait for it alone."""
    items.sort(key=lambda item: item.path.name != "test_examples.py")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[Any]:
    """On failure: objects, Events and logs of the test's namespace, and the operator's log."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        spaces = [value for value in item.funcargs.values() if isinstance(value, Space)]
        for used in spaces:
            report.sections.append(("cluster", used.told()))
            report.sections.append(("operator", used.site.log()))
    return report
