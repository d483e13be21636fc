"""The emulator and the hosted backend before it."""

from collections.abc import AsyncIterator, Iterator

import pytest

from support.emulator import Emulator
from support.hosted_backend import Hosted


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    with Emulator(tmp_path_factory.mktemp("azure")) as emulator:
        yield emulator


@pytest.fixture
async def hosted(emulator: Emulator) -> AsyncIterator[Hosted]:
    emulator.reset()
    async with Hosted(emulator) as hosted:
        yield hosted
