"""The examples fit the API, and their ConfigMap holds the example files, byte for byte."""

from pathlib import Path

import pytest
import yaml

from finetune_api.job import FineTuneJob
from make_examples import DATA, config_map

MANIFEST = DATA / "gsm8k-configmap.yaml"


@pytest.mark.parametrize("path", sorted(DATA.parent.glob("*.yaml")), ids=lambda path: path.stem)
def test_an_example_fits_the_api(path: Path) -> None:
    made = {"namespace": "team-a", "uid": "1", "generation": 1, "resourceVersion": "1"}
    for given in yaml.safe_load_all(path.read_text("utf-8")):
        job = FineTuneJob.model_validate({**given, "metadata": given["metadata"] | made})
        assert job.metadata.name.startswith(path.stem)


def test_the_manifest_is_up_to_date() -> None:
    assert MANIFEST.read_text("utf-8") == config_map("gsm8k", DATA / "gsm8k-sft")


@pytest.mark.parametrize("key", ["train.jsonl", "validation.jsonl"])
def test_a_key_has_the_bytes_of_its_file(key: str) -> None:
    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    manifest = yaml.load(MANIFEST.read_text("utf-8"), Loader=loader)

    assert manifest["data"][key].encode() == (DATA / "gsm8k-sft" / key).read_bytes()


def test_it_fits_into_a_config_map() -> None:
    limit = 1024 * 1024
    assert sum(path.stat().st_size for path in Path(DATA / "gsm8k-sft").iterdir()) < limit
