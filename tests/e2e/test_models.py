"""A model from a claim, every weight of it trained; the result in a claim of the user's, safe."""

import json

import pytest

from deploy.install import HUB
from support.e2e import TRAINED, Space
from support.e2e_cluster import Json
from support.e2e_objects import MODEL, claim, script_pod, tiny
from support.e2e_status import assert_failed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

FETCH = f"""
from huggingface_hub import snapshot_download
snapshot_download("{MODEL.removeprefix("hf://")}", local_dir="/models/base", max_workers=1)
"""
LOAD = """
import json
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained("/models/team-a/full/result", dtype="float32")
print(json.dumps({"parameters": sum(each.numel() for each in model.parameters())}))
"""


def test_every_weight_of_a_model_from_a_claim_and_its_folder_is_taken(
    space: Space, training: None
) -> None:
    space.create(claim("models"))
    volumes: dict[str, Json] = {"/models": {"persistentVolumeClaim": {"claimName": "models"}}}
    image = space.site.operator_image
    space.finished_pod(script_pod("fetch", image, FETCH, volumes=volumes, HF_ENDPOINT=HUB))
    same = {
        "model.uri": "pvc://models/base",
        "parameterEfficient": {"type": "None"},
        "output.volume": {"claimName": "models", "path": "team-a/full"},
        "kubernetes.resources.limits": {"cpu": "1", "memory": "6Gi"},
    }
    run = space.run(tiny("full", **same))
    status = run.until_phase("Succeeded", within=TRAINED)
    assert status["result"]["model"] == "pvc://models/team-a/full/result"
    assert status["resolved"]["learningRate"]["value"] == "2e-05"
    claims = [each["metadata"]["name"] for each in space.objects("PersistentVolumeClaim")]
    assert claims == ["models"]

    second = space.run(tiny("other", **same))
    want = "team-a/full of the output volume belongs to FineTuneJob .*full .*output.volume.path"
    assert_failed(second.until_phase("Failed", within=TRAINED), "NameConflict", want)

    pod = script_pod("load", space.site.trainer_image, LOAD, volumes=volumes)
    log = space.finished_pod(pod, within=TRAINED)
    assert json.loads(log.splitlines()[-1])["parameters"] > 130_000_000
