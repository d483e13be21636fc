"""The world of these tests."""

import pytest

from support.world import World


@pytest.fixture
def world() -> World:
    """A world in which nothing happens by itself."""
    quiet = World(0, trouble=0)
    quiet.wild = False
    return quiet
