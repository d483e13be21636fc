"""Child objects: what the API server gets, and what the `restricted` Pod Security level asks."""

from dataclasses import replace
from typing import Any

import pytest

from finetune_api import constants as c
from finetune_api.backends import EnvVar, Toleration, TolerationOperator
from finetune_api.job import FineTuneJob
from finetune_api.pods import Split
from finetune_operator.core import child_jobs, manifests, names, podconfig
from finetune_operator.core.conditions import parse_time
from finetune_operator.core.manifests import Manifest, Surroundings
from support.builders import UID, a_job, prepared, stamp, started

AROUND = Surroundings(
    prepare_image="operator:1",
    trainer_image="trainer:1",
    image_pull_policy="IfNotPresent",
    progress_url="https://finetune-operator.system.svc",
    progress_ca="PEM",
    azure_ca="AZURE PEM",
    fetch_ca="FETCH PEM",
    hf_endpoint="https://hub.local",
)
IDENTITY = {
    "workloadIdentity": {"serviceAccountName": "tuner", "clientID": "c-1", "tenantID": "t-1"}
}
HUB_FILE = {"uri": "hf://datasets/org/name/train.jsonl", "secretRef": {"name": "hub"}}


def training(around: Surroundings = AROUND, **spec: Any) -> Manifest:
    job = started(a_job(spec=spec))
    return child_jobs.training_job(job, names.training_name(job, 1), "models", around)


def preparing(*, hosted: bool = False, around: Surroundings = AROUND, **spec: Any) -> Manifest:
    job = a_job(hosted=hosted, spec=spec)
    target = (
        podconfig.upload_target(job, base_url="u", token_scope="s", authority_host=None)
        if hosted
        else None
    )
    config = podconfig.prepare_config(
        job, upload=target, min_examples=10, allowed_ranges=[], denied_ranges=[]
    )
    return child_jobs.prepare_job(job, names.prepare_name(job, 0), config, around)


ALL = [
    pytest.param(training(), id="training"),
    pytest.param(
        training(**{"model.uri": "pvc://models/base", "kubernetes.queueName": "q"}),
        id="training in a queue",
    ),
    pytest.param(preparing(), id="prepare in the cluster"),
    pytest.param(preparing(hosted=True), id="prepare with a key"),
    pytest.param(
        preparing(hosted=True, **{"azureOpenAI.auth": IDENTITY}), id="prepare with an identity"
    ),
]
each = pytest.mark.parametrize("job", ALL)


def pod_of(job: Manifest) -> Manifest:
    pod: Manifest = job["spec"]["template"]["spec"]
    return pod


def container_of(job: Manifest) -> Manifest:
    container: Manifest = pod_of(job)["containers"][0]
    return container


@each
def test_pods_pass_the_restricted_level(job: Manifest) -> None:
    pod, container = pod_of(job), container_of(job)
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    allowed = {
        *("configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"),
        "name",
    }
    assert all(volume.keys() <= allowed for volume in pod["volumes"])


@each
def test_pods_have_no_token_of_the_cluster_and_no_secret_in_sight(job: Manifest) -> None:
    assert pod_of(job)["automountServiceAccountToken"] is False
    assert not any("secretKeyRef" in str(variable) for variable in container_of(job)["env"])


@each
def test_the_operator_alone_decides_on_another_attempt(job: Manifest) -> None:
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["podReplacementPolicy"]) == (0, "Failed")
    assert pod_of(job)["restartPolicy"] == "Never"
    rules = spec["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["Ignore", "Ignore", "FailJob"]
    assert rules[0]["onPodConditions"] == [{"type": "DisruptionTarget"}]
    assert rules[1]["onExitCodes"]["values"] == [75]
    assert rules[2]["onExitCodes"]["values"] == [65, 72, 74, 78]
    (container,) = pod_of(job)["containers"]
    assert {rule["onExitCodes"]["containerName"] for rule in rules[1:]} == {container["name"]}
    assert "ttlSecondsAfterFinished" not in spec


@each
def test_children_are_found_by_label_and_owned_by_uid(job: Manifest) -> None:
    labels = job["metadata"]["labels"]
    assert labels[c.LABEL_JOB_UID] == UID
    assert labels.items() >= job["spec"]["template"]["metadata"]["labels"].items()
    (owner,) = job["metadata"]["ownerReferences"]
    assert (owner["uid"], owner["controller"]) == (UID, True)


@each
def test_what_is_mounted_is_there_once(job: Manifest) -> None:
    volumes = [volume["name"] for volume in pod_of(job)["volumes"]]
    mounts = container_of(job)["volumeMounts"]
    assert len(set(volumes)) == len(volumes)
    assert {mount["name"] for mount in mounts} == set(volumes)
    paths = [mount["mountPath"] for mount in mounts]
    assert len(set(paths)) == len(paths)


def test_a_hub_token_is_named_never_copied() -> None:
    job = training(**{"model.secretRef": {"name": "hub"}, "data.training": HUB_FILE})
    secret = [variable for variable in container_of(job)["env"] if "valueFrom" in variable]
    reference = {"secretKeyRef": {"name": "hub", "key": "HF_TOKEN"}}
    assert secret == [{"name": "HF_TOKEN", "valueFrom": reference}]
    assert {"name": "HF_ENDPOINT", "value": "https://hub.local"} in container_of(job)["env"]


def test_a_claim_that_is_read_and_written_is_one_volume() -> None:
    job = training(
        **{"model.uri": "pvc://models/base", "data.training": {"uri": "pvc://models/train.jsonl"}}
    )
    claims = [v for v in pod_of(job)["volumes"] if "persistentVolumeClaim" in v]
    mounts = {m["mountPath"]: m for m in container_of(job)["volumeMounts"]}
    assert len(claims) == 1
    assert mounts[c.MODEL_DIR]["readOnly"] is True
    assert mounts[f"{c.DATA_DIR}/training"]["readOnly"] is True
    assert "readOnly" not in mounts[c.OUTPUT_DIR]


@pytest.mark.parametrize(
    ("queue", "want"),
    [
        pytest.param(None, (None, None), id="none"),
        pytest.param("team-a", ("team-a", True), id="a queue"),
    ],
)
def test_a_queue_holds_the_child_back(queue: str | None, want: tuple[Any, Any]) -> None:
    job = training(**({"kubernetes.queueName": queue} if queue else {}))
    assert (job["metadata"]["labels"].get(c.LABEL_KUEUE_QUEUE), job["spec"].get("suspend")) == want


def test_the_pod_template_is_a_closed_list() -> None:
    template = {
        "labels": {"team": "a", c.LABEL_JOB_UID: "forged"},
        "annotations": {"note": "x"},
        "nodeSelector": {"gpu": "yes"},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1}],
        "priorityClassName": "high",
        "runtimeClassName": "nvidia",
        "schedulerName": "other",
        "imagePullSecrets": [{"name": "registry"}],
        "env": [{"name": "OMP_NUM_THREADS", "value": "4"}],
    }
    job = training(**{"kubernetes.podTemplate": template})
    pod, metadata = pod_of(job), job["spec"]["template"]["metadata"]
    assert metadata["labels"]["team"] == "a"
    assert metadata["labels"][c.LABEL_JOB_UID] == UID, "our labels win"
    assert metadata["annotations"] == {"note": "x"}
    for name in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints"):
        assert pod[name] == template[name]
    for name in ("priorityClassName", "runtimeClassName", "schedulerName", "imagePullSecrets"):
        assert pod[name] == template[name]
    assert {"name": "OMP_NUM_THREADS", "value": "4"} in container_of(job)["env"]


def test_a_child_says_which_settings_it_was_made_for() -> None:
    digests = {
        job["metadata"]["annotations"][child_jobs.SPEC_DIGEST_ANNOTATION]
        for job in (training(), training(**{"kubernetes.image": "mine:2"}), training(suspend=True))
    }
    assert len(digests) == 2


def test_resources_and_image_are_the_users() -> None:
    limits = {"nvidia.com/gpu": "1", "memory": "64Gi"}
    job = training(**{"kubernetes.image": "mine:2", "kubernetes.resources": {"limits": limits}})
    assert (container_of(job)["image"], container_of(job)["resources"]) == (
        "mine:2",
        {"limits": limits},
    )
    assert container_of(training())["image"] == "trainer:1"


def test_a_pod_knows_where_to_report_or_is_left_in_peace() -> None:
    url = "https://finetune-operator.system.svc/apis/trainer.kubeflow.org/v1alpha1"
    env = {v["name"]: v.get("value") for v in container_of(training())["env"]}
    assert env["KUBEFLOW_TRAINER_SERVER_URL"] == f"{url}/namespaces/default/trainjobs/tune/status"
    alone = Surroundings(
        prepare_image="p",
        trainer_image="t",
        image_pull_policy="Never",
        progress_url="",
        progress_ca="",
    )
    assert not any("KUBEFLOW" in v["name"] for v in container_of(training(alone))["env"])


PLACED = replace(
    AROUND,
    prepare_node_selector={"pool": "general"},
    prepare_tolerations=(Toleration(key="dedicated", operator=TolerationOperator.EXISTS),),
    prepare_env=(EnvVar(name="HTTPS_PROXY", value="http://u:$p@proxy"),),
)


@pytest.mark.parametrize(
    ("job", "want_selector", "want_tolerations", "want_proxy"),
    [
        pytest.param(
            preparing(around=PLACED),
            {"pool": "general"},
            [{"key": "dedicated", "operator": "Exists"}],
            ["http://u:$$p@proxy"],
            id="prepare in the cluster",
        ),
        pytest.param(
            preparing(hosted=True, around=PLACED),
            {"pool": "general"},
            [{"key": "dedicated", "operator": "Exists"}],
            ["http://u:$$p@proxy"],
            id="prepare for the service",
        ),
        pytest.param(preparing(), None, None, [], id="prepare without a word of the chart"),
        pytest.param(training(PLACED), None, None, [], id="training has its own template"),
    ],
)
def test_the_chart_says_where_prepare_pods_run_and_by_which_proxy(
    job: Manifest,
    want_selector: dict[str, str] | None,
    want_tolerations: list[Manifest] | None,
    want_proxy: list[str],
) -> None:
    pod = pod_of(job)
    assert pod.get("nodeSelector") == want_selector
    assert pod.get("tolerations") == want_tolerations
    found = [v["value"] for v in container_of(job)["env"] if v["name"] == "HTTPS_PROXY"]
    assert found == want_proxy


@pytest.mark.parametrize(
    ("job", "want_account", "want_audience"),
    [
        pytest.param(training(), manifests.TRAINER_ACCOUNT, c.PROGRESS_AUDIENCE, id="training"),
        pytest.param(preparing(), manifests.TRAINER_ACCOUNT, None, id="prepare"),
        pytest.param(
            preparing(hosted=True, **{"azureOpenAI.auth": IDENTITY}),
            "tuner",
            c.AZURE_TOKEN_AUDIENCE,
            id="prepare with an identity",
        ),
    ],
)
def test_identities(job: Manifest, want_account: str, want_audience: str | None) -> None:
    tokens = [
        source["serviceAccountToken"]["audience"]
        for volume in pod_of(job)["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
    ]
    assert pod_of(job)["serviceAccountName"] == want_account
    assert tokens == ([want_audience] if want_audience else [])


def test_a_key_is_mounted_as_a_file() -> None:
    volumes = {v["name"]: v for v in pod_of(preparing(hosted=True))["volumes"]}
    items = [{"key": "api-key", "path": "key"}]
    assert volumes["api-key"]["secret"] == {"secretName": "azure", "items": items}


def test_prepare_config_travels_with_the_pod() -> None:
    job = preparing(hosted=True)
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert '"min_examples":10' in annotations["finetune.dev/config.json"].replace(
        "minExamples", "min_examples"
    )
    assert annotations["finetune.dev/azure-ca.crt"] == "AZURE PEM"
    assert job["metadata"]["annotations"][child_jobs.SPEC_DIGEST_ANNOTATION] == names.spec_digest(
        a_job(hosted=True)
    )


def test_a_prepare_pod_has_limits_as_a_quota_may_demand() -> None:
    (container,) = pod_of(preparing())["containers"]
    assert container["resources"]["limits"] == {"cpu": "1", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        pytest.param({}, 42, id="no seed"),
        pytest.param({"seed": 7}, 7, id="a seed"),
    ],
)
def test_all_pods_are_told_of_the_split(spec: Manifest, want: int) -> None:
    job = a_job(spec={"data.validation": {"split": "5%"}, **spec})
    ranges: dict[str, list[str]] = {"allowed_ranges": [], "denied_ranges": []}
    told = (
        podconfig.prepare_config(job, upload=None, min_examples=1, **ranges),
        podconfig.training_config(started(job), attempt=1, output_path="a", **ranges),
    )
    for config in told:
        assert config.validation is None
        assert config.split == Split(percent=5, seed=want)


@pytest.mark.parametrize(
    ("spec", "want"),
    [
        pytest.param({}, False, id="by default"),
        pytest.param({"data.invalidRows": "Drop"}, True, id="when asked"),
    ],
)
def test_all_pods_are_told_whether_to_leave_rows_out(spec: Manifest, want: bool) -> None:
    job = a_job(spec=spec)
    ranges: dict[str, list[str]] = {"allowed_ranges": [], "denied_ranges": []}
    told = (
        podconfig.prepare_config(job, upload=None, min_examples=1, **ranges),
        podconfig.training_config(started(job), attempt=1, output_path="a", **ranges),
    )
    assert [config.drop_invalid for config in told] == [want, want]


def test_a_split_holds_out_what_the_service_needs() -> None:
    job = a_job(hosted=True, spec={"data.validation": {"split": "5%"}})
    config = podconfig.prepare_config(
        job, upload=None, min_examples=10, allowed_ranges=[], denied_ranges=[]
    )
    assert config.split == Split(percent=5, at_least=10)


def test_a_prepare_pod_is_told_what_the_service_trains_on() -> None:
    job = a_job(hosted=True, spec={"hyperparameters": {"epochs": 3}})
    config = podconfig.prepare_config(
        job, upload=None, min_examples=10, allowed_ranges=[], denied_ranges=[]
    )
    assert (config.hosted_model, config.epochs) == (job.spec.model.name, 3)


@pytest.mark.parametrize("hosted", [False, True])
def test_a_prepare_pod_finds_the_authorities_for_its_data(hosted: bool) -> None:
    job = preparing(hosted=hosted)
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    assert annotations["finetune.dev/fetch-ca.crt"] == "FETCH PEM"
    (config,) = [v for v in pod_of(job)["volumes"] if v["name"] == "config"]
    assert "fetch-ca.crt" in [item["path"] for item in config["downwardAPI"]["items"]]
    assert f"{c.CONFIG_DIR}/fetch-ca.crt" == c.FETCH_CA_FILE


@pytest.mark.parametrize(
    ("authorities", "want"),
    [
        pytest.param("FETCH PEM", {"fetch-ca.crt": "FETCH PEM"}, id="some"),
        pytest.param("", {}, id="none"),
    ],
)
def test_a_training_pod_finds_the_authorities_for_its_data(
    authorities: str, want: dict[str, str]
) -> None:
    around = replace(AROUND, fetch_ca=authorities)
    job = started(a_job())
    config = podconfig.training_config(
        job, attempt=1, output_path="x", allowed_ranges=[], denied_ranges=[]
    )
    data = manifests.config_map(job, "c", config, around)["data"]
    assert {key: data[key] for key in data.keys() - {"config.json", "progress-ca.crt"}} == want


def test_the_claim_is_created_without_an_owner() -> None:
    claim = manifests.output_claim(a_job(), "out", AROUND)
    assert "ownerReferences" not in claim["metadata"]
    assert claim["metadata"]["labels"][c.LABEL_JOB_UID] == UID
    assert claim["spec"]["resources"] == {"requests": {"storage": "10Gi"}}


def _job(**spec: Any) -> FineTuneJob:
    return prepared(a_job(spec=spec))


def test_the_trainer_is_told_what_the_data_must_be() -> None:
    config = podconfig.training_config(
        _job(
            seed=7,
            **{
                "parameterEfficient": {
                    "type": "LoRA",
                    "rank": 8,
                    "dropout": "0.1",
                    "targetModules": "AllLinear",
                }
            },
        ),
        attempt=2,
        output_path="tune",
        allowed_ranges=["10.0.0.0/8"],
        denied_ranges=[],
    )
    assert config.training.sha256 == "ab" * 32
    assert (config.job_uid, config.attempt, config.seed) == (UID, 2, 7)
    assert config.created == parse_time(stamp(-60))
    assert (config.lora.rank, config.lora.dropout) == (8, 0.1)
    assert config.lora.target_modules == "AllLinear"
    assert config.model_display == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert config.output_dir == "/mnt/output/tune"


@pytest.mark.parametrize(
    ("source", "want"),
    [
        pytest.param(
            {"configMap": {"name": "gsm8k", "key": "train.jsonl"}},
            ("file", "ConfigMap gsm8k/train.jsonl"),
            id="ConfigMap",
        ),
        pytest.param({"uri": "pvc://data/a/b.jsonl"}, ("file", "pvc://data/a/b.jsonl"), id="claim"),
        pytest.param(
            {"uri": "https://example.com/a.jsonl?sig=secret"},
            ("https", "https://example.com/a.jsonl"),
            id="https, without what may be a credential",
        ),
        pytest.param(
            {"uri": "hf://datasets/org/name/a/b.jsonl"},
            ("hub", "hf://datasets/org/name/a/b.jsonl"),
            id="hub",
        ),
    ],
)
def test_sources(source: Manifest, want: tuple[str, str]) -> None:
    config = podconfig.prepare_config(
        a_job(spec={"data.training": source}),
        upload=None,
        min_examples=1,
        allowed_ranges=[],
        denied_ranges=[],
    )
    assert (config.training.source.kind, config.training.display) == want
    assert config.created == parse_time(stamp(-60))
    assert config.training.sha256 is None
