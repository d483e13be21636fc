"""The examples, as they stand, come to a model that somebody else can load and ask."""

import json
from pathlib import Path

import pytest
import yaml

from deploy.install import API_KEY, HUB, SYSTEM
from deploy.tools import kubectl
from finetune_api.constants import FORCE_NEW_ANNOTATION
from support.e2e import TRAINED, Run, Space
from support.e2e_cluster import Json
from support.e2e_objects import MODEL, may_read, script_pod, secret
from support.e2e_status import condition

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

EXAMPLES = Path(__file__).parents[2] / "examples"
NAMES = ("sft-smollm2-gsm8k", "sft-azure-gsm8k")
GENERATE = """
import json, os, pathlib
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

result = "/models/sft-smollm2-gsm8k/result"
config = json.loads(pathlib.Path(result, "adapter_config.json").read_text())
model = AutoPeftModelForCausalLM.from_pretrained(result, dtype="float32")
tokenizer = AutoTokenizer.from_pretrained(result)
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": "What is 2 plus 3?"}],
    add_generation_prompt=True, return_tensors="pt", return_dict=True,
)
tokens = model.generate(**prompt, max_new_tokens=8, do_sample=False)
new = tokens[0, prompt["input_ids"].shape[1]:]
print(json.dumps({
    "user": os.getuid(),
    "base": config["base_model_name_or_path"],
    "answer": tokenizer.decode(new, skip_special_tokens=True),
    "tokens": len(new),
}))
"""

ASK = """
import os, runpy, sys
from huggingface_hub import snapshot_download
base = snapshot_download(os.environ["BASE"], local_dir="/tmp/base", max_workers=1)
sys.argv = ["ask", "--result", "/models/sft-smollm2-gsm8k/result", "--model", base,
            "--prompt", "What is 2 plus 3?", "--max-tokens", "8"]
runpy.run_module("finetune_trainer.ask", run_name="__main__")
"""


class Applied:
    """Both examples in one namespace, seen through to their ends."""

    def __init__(self, space: Space, runs: dict[str, Run]) -> None:
        self.space = space
        self.runs = runs
        self.ended = {
            name: run.until_phase("Succeeded", within=2 * TRAINED) for name, run in runs.items()
        }


@pytest.fixture
def examples(space: Space, training: None) -> Applied:
    _allow(space)
    data = EXAMPLES / "data" / "gsm8k-configmap.yaml"
    kubectl("apply", "-n", space.name, "--server-side", "-f", str(data))
    for name in NAMES:
        kubectl("apply", "-n", space.name, "-f", str(EXAMPLES / f"{name}.yaml"))
    # The account may keep what an earlier run trained from the same example.
    kubectl("annotate", "-n", space.name, "ftj", NAMES[1], f"{FORCE_NEW_ANNOTATION}=true")
    return Applied(space, {name: found(space, name) for name in NAMES})


def _allow(space: Space) -> None:
    """The key under the name that the example gives it, and the right to read it."""
    given = yaml.safe_load((EXAMPLES / f"{NAMES[1]}.yaml").read_text())
    key = given["spec"]["azureOpenAI"]["auth"]["apiKeySecretRef"]
    for kind in ("RoleBinding", "Role"):
        space.delete(kind, "finetune-secrets")
    space.create(
        secret(key["name"], **{key["key"]: API_KEY}),
        *may_read(key["name"], space.site.account, SYSTEM),
    )


def found(space: Space, name: str) -> Run:
    read = space.get("FineTuneJob", name) or {}
    return Run(space, name, read["metadata"]["uid"])


def status_holds_what_a_user_asks_for(examples: Applied, name: str) -> None:
    status = examples.ended[name]
    assert condition(status, "Succeeded")["status"] == "True"
    assert condition(status, "Ready")["status"] == "True"
    assert condition(status, "DataValid")["message"] == "449 training rows are in order"
    assert condition(status, "Reconciling") == condition(status, "Stalled") == {}
    assert status["observedGeneration"] == status["startedGeneration"] == 1
    assert status["progress"]["text"] == "100%"
    assert 0.2 < float(status["metrics"]["trainLoss"]) < 5
    assert 0.2 < float(status["metrics"]["validationLoss"]) < 5
    data = status["data"]
    assert (data["training"]["examples"], data["validation"]["examples"]) == (449, 50)
    assert status["result"]["model"] in status["message"]
    assert [(each["number"], each["reason"]) for each in status["attempts"]] == [(1, "Succeeded")]


def the_cluster_says_what_it_decided(examples: Applied) -> None:
    status = examples.ended[NAMES[0]]
    resolved = {key: each["value"] for key, each in status["resolved"].items()}
    assert resolved["loraRank"] == "16"
    assert resolved["learningRate"] == "0.0002"
    assert all(each["reason"] for each in status["resolved"].values())
    assert status["attempts"][0]["step"] == 8
    assert status["data"]["training"]["supervisedTokens"] < status["data"]["training"]["tokens"]
    assert status["result"]["model"].endswith("/sft-smollm2-gsm8k/result")


def the_service_says_what_it_did(examples: Applied) -> None:
    remote = examples.ended[NAMES[1]]["azureOpenAI"]
    assert remote["rawStatus"] == "succeeded"
    assert remote["trainedTokens"] > 0
    assert remote["submission"]["marker"]
    assert "gsm8k-" in examples.ended[NAMES[1]]["result"]["model"]


def the_result_is_exported_for_other_manifests(examples: Applied, name: str) -> None:
    exported = examples.space.get("ConfigMap", f"{name}-result") or {}
    assert exported["data"]["model"] == examples.ended[name]["result"]["model"]
    [owner] = exported["metadata"]["ownerReferences"]
    assert owner["uid"] == examples.runs[name].uid


def events_tell_the_story(examples: Applied, name: str) -> None:
    told = set(examples.runs[name].events())
    assert {"Preparing", "Running", "Succeeded"} <= told


def kubectl_prints_what_people_look_for(examples: Applied) -> None:
    namespace = examples.space.name
    table = kubectl("get", "ftj", "-n", namespace, "-o", "wide").splitlines()
    assert table[0].split() == [
        "NAME", "PHASE", "BACKEND", "MODEL", "PROGRESS", "ETA", "METHOD", "LOSS", "REASON",
        "RESULT", "QUEUE", "AGE",
    ]  # fmt: skip
    rows = {line.split()[0]: line.split() for line in table[1:]}
    assert rows[NAMES[0]][1:5] == ["Succeeded", "Kubernetes", "SmolLM2-135M-Instruct", "100%"]
    assert rows[NAMES[1]][1:5] == ["Succeeded", "AzureOpenAI", "gpt-4.1-mini-2025-04-14", "100%"]
    for name in NAMES:
        assert examples.ended[name]["result"]["model"] in rows[name]
        wait = ("wait", "--for=condition=Succeeded", f"ftj/{name}", "-n", namespace)
        assert "condition met" in kubectl(*wait, "--timeout=5s")


def said_beside_the_result(examples: Applied, name: str, code: str) -> list[str]:
    """What a pod of somebody else says that has the result mounted, line by line."""
    uri = examples.ended[NAMES[0]]["result"]["model"]
    claim = uri.removeprefix("pvc://").partition("/")[0]
    volumes: dict[str, Json] = {
        "/models": {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    }
    pod = script_pod(
        name, examples.space.site.trainer_image, code,
        volumes=volumes, user_id=12345, HF_ENDPOINT=HUB, BASE=MODEL.removeprefix("hf://"),
    )  # fmt: skip
    return examples.space.finished_pod(pod, within=TRAINED).splitlines()


def the_trainers_program_answers_before_and_after(examples: Applied) -> None:
    said = said_beside_the_result(examples, "before-and-after", ASK)
    answers = [line.partition(": ")[2].strip() for line in said if line[:5] in ("Befor", "After")]
    assert len(answers) == 2
    assert all(answers)


def the_result_loads_and_generates_for_another_user(examples: Applied) -> None:
    told = json.loads(said_beside_the_result(examples, "asks", GENERATE)[-1])
    assert told["user"] == 12345
    assert told["base"] == MODEL.removeprefix("hf://")
    assert told["tokens"] > 0
    assert told["answer"].strip()


def test_both_examples_come_to_a_model(examples: Applied, subtests: pytest.Subtests) -> None:
    """One test, since the run it stands on is the longest of all."""
    for name in NAMES:
        for check in (
            status_holds_what_a_user_asks_for,
            the_result_is_exported_for_other_manifests,
            events_tell_the_story,
        ):
            with subtests.test(check.__name__, example=name):
                check(examples, name)
    for check_both in (
        the_cluster_says_what_it_decided,
        the_service_says_what_it_did,
        kubectl_prints_what_people_look_for,
        the_result_loads_and_generates_for_another_user,
        the_trainers_program_answers_before_and_after,
    ):
        with subtests.test(check_both.__name__):
            check_both(examples)
