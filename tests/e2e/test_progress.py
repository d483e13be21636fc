"""What a running job tells, and who may tell it: the progress endpoint with TLS and tokens."""

import json
from typing import Any

import pytest

from finetune_api import constants as c
from support.builders_api import Manifest
from support.e2e import TRAINED, Space
from support.e2e_objects import script_pod, tiny
from support.e2e_status import condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]

POST = """
import json, os, ssl, urllib.error, urllib.request

tls = ssl.create_default_context(cadata=os.environ["CA"])
body = json.dumps({"trainerStatus": {"progressPercentage": 99}}).encode()


def post(token):
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = "Bearer " + open("/tokens/" + token).read()
    request = urllib.request.Request(os.environ["URL"], data=body, headers=headers)
    try:
        return urllib.request.urlopen(request, context=tls, timeout=10).status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


print(json.dumps({token: post(token) for token in ("", "other-audience", "progress")}))
"""


def token(audience: str, path: str) -> dict[str, Any]:
    wanted = {"audience": audience, "expirationSeconds": 600, "path": path}
    return {"serviceAccountToken": wanted}


def intruder(space: Space, url: str, authority: str) -> Manifest:
    """A pod that knows the address of a job of which it is no part."""
    tokens = [token(c.PROGRESS_AUDIENCE, "progress"), token("somebody", "other-audience")]
    volumes = {"/tokens": {"projected": {"sources": tokens}}}
    return script_pod(
        "intruder", space.site.operator_image, POST, volumes=volumes, URL=url, CA=authority
    )


def test_a_running_job_tells_how_far_it_is_and_believes_nobody_else(
    space: Space, training: None
) -> None:
    run = space.run(tiny(steps=30))
    status = run.until(
        lambda s: 0 < s.get("progress", {}).get("percent", 0) < 100, "progress", within=TRAINED
    )
    assert status["phase"] == "Running"
    progress = status["progress"]
    assert progress["totalSteps"] == 30
    assert 0 < progress["step"] < 30
    assert progress["text"] == f"{progress['percent']}%"
    assert float(progress["loss"]) > 0
    assert status["resolved"]["maxSteps"]["value"] == "30"
    assert condition(status, "Ready")["message"] == status["message"]
    assert f"tep {progress['step']} of 30, loss" in status["message"]

    child = status["kubernetes"]["jobName"]
    config = space.get("ConfigMap", child) or {}
    [container] = run.pods()[0]["spec"]["containers"]
    env = {each["name"]: each.get("value") for each in container["env"]}
    pod = intruder(
        space, str(env["KUBEFLOW_TRAINER_SERVER_URL"]), config["data"]["progress-ca.crt"]
    )
    answers = json.loads(space.finished_pod(pod))
    assert answers == {"": 401, "other-audience": 401, "progress": 403}
    assert run.status["progress"]["percent"] != 99
    assert run.until_phase("Succeeded", within=TRAINED)["progress"]["percent"] == 100
