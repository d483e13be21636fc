"""What the trainer's tests share: a tiny model, made once."""

import os
from pathlib import Path

import pytest

from finetune_trainer import environment

os.environ["HF_HUB_OFFLINE"] = "1"
environment.prepare()


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.tiny_model import make_model

    return make_model(tmp_path_factory.mktemp("tiny") / "model")
