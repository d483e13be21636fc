"""The chart: every supported shape renders into valid objects that fit the operator."""

import json
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from finetune_api import constants
from finetune_operator.settings import PREFIX, InvalidSettings, Settings
from support.chart import (
    CHART,
    ROOT,
    HelmRefused,
    Manifest,
    environment,
    helm,
    of_kind,
    render,
    shapes,
)

each_shape = pytest.mark.parametrize(
    "values", [pytest.param(path, id=path.name.removesuffix("-values.yaml")) for path in shapes()]
)
# Served by the operator itself, or named by nothing in a chart.
_NO_VALUE = {"health_host", "progress_host"}


@each_shape
def test_helm_lints_without_a_complaint(values: Path) -> None:
    helm("lint", str(CHART), "--strict", "--values", str(values))


@each_shape
def test_every_object_is_valid(values: Path) -> None:
    for manifest in render("--values", str(values)):
        kubernetes_validate.validate(manifest, "1.34", strict=True)


@each_shape
def test_every_object_has_a_namespace_or_needs_none(values: Path) -> None:
    for manifest in render("--values", str(values)):
        cluster_wide = manifest["kind"].startswith(("Cluster", "CustomResource"))
        assert ("namespace" in manifest["metadata"]) != cluster_wide, manifest["metadata"]


@each_shape
def test_the_operator_understands_its_environment(values: Path) -> None:
    manifests = render("--values", str(values))
    given = environment(manifests)
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    assert given.keys() <= known
    settings = Settings.from_env(given)
    assert settings.lease_renew_deadline_seconds < settings.lease_duration_seconds


def test_every_setting_can_be_set_by_a_value() -> None:
    settable = {
        name for path in shapes() for name in environment(render("--values", str(path)))
    } | {f"{PREFIX}POD_{name}" for name in ("NAME", "NAMESPACE", "SERVICE_ACCOUNT")}
    want = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields.keys() - _NO_VALUE}
    assert settable == want


def test_values_become_the_settings_they_name() -> None:
    gateway, everything = (
        Settings.from_env(environment(render("--values", str(CHART / "ci" / name))))
        for name in ("gateway-values.yaml", "everything-set-values.yaml")
    )
    assert gateway.azure_allowed_endpoints == (
        "https://gateway.example.com",
        "https://gateway.example.com:8443",
    )
    assert gateway.azure_authority_host == "https://login.example.com"
    assert gateway.fetch_allowed_ranges == ("10.20.0.0/16",)
    assert gateway.fetch_denied_ranges == ("10.96.0.0/16", "10.244.0.0/16")
    assert gateway.hf_endpoint == "https://hub.models.svc"
    assert everything.workers == 32
    assert everything.lease_renew_deadline_seconds == 3.5
    assert everything.azure_list_lag_seconds == 0.5
    assert everything.trainer_image == "registry.example.com/finetune-trainer:0.1.0"
    assert everything.prepare_node_selector == {"example.com/pool": "general"}
    tolerations = [each.model_dump(exclude_none=True) for each in everything.prepare_tolerations]
    assert tolerations == [
        {
            **{"key": "dedicated", "operator": "Equal", "value": "batch"},
            **{"effect": "NoExecute", "tolerationSeconds": 300},
        },
        {"operator": "Exists", "effect": "NoSchedule"},
    ]
    assert {each.name: each.value for each in everything.prepare_env} == {
        "HTTPS_PROXY": "http://proxy.example.com:3128",
        "ODD": '"$(HOME)" & $$',
    }


def deployment(*options: str) -> Manifest:
    (found,) = of_kind(render(*options), "Deployment")
    return found


def container(*options: str) -> Manifest:
    (found,) = deployment(*options)["spec"]["template"]["spec"]["containers"]
    return dict(found)


def test_the_pod_passes_the_restricted_standard() -> None:
    pod = deployment()["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_liveness_gives_a_stuck_loop_a_minute() -> None:
    probe = container()["livenessProbe"]
    assert probe["httpGet"]["path"] == "/livez"
    assert probe["periodSeconds"] * probe["failureThreshold"] == 60
    assert container()["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_further_variables_reach_the_operator() -> None:
    want = [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
    ]
    (found,) = of_kind(render("--set-json", f"extraEnv={json.dumps(want)}"), "Deployment")
    (operator,) = found["spec"]["template"]["spec"]["containers"]
    assert operator["env"][-2:] == want
    kubernetes_validate.validate(found, "1.34", strict=True)


def test_the_pod_has_time_to_drain() -> None:
    assert deployment()["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > 10


def service(name: str) -> Manifest:
    return next(s for s in of_kind(render(), "Service") if s["metadata"]["name"].endswith(name))


def test_only_the_leader_receives_progress() -> None:
    selector = service("-progress")["spec"]["selector"]
    labels = deployment()["spec"]["template"]["metadata"]["labels"]
    assert selector.pop(constants.LABEL_LEADER) == "true"
    assert selector.items() <= labels.items()
    assert constants.LABEL_LEADER not in labels


def test_pods_report_to_the_service_that_exists() -> None:
    settings = Settings.from_env(environment(render()))
    progress = service("-progress")
    meta = progress["metadata"]
    assert settings.progress_url == f"https://{meta['name']}.{meta['namespace']}.svc"
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}
    assert ports == {"health": settings.health_port, "progress": settings.progress_port}
    assert progress["spec"]["ports"][0]["port"] == settings.progress_service_port


@pytest.mark.parametrize(
    ("options", "want_key"),
    [
        pytest.param(["--values", str(CHART / "ci/gateway-values.yaml")], "ca.crt", id="PEM text"),
        pytest.param(
            ["--values", str(CHART / "ci/ca-config-map-values.yaml")], "bundle.pem", id="ConfigMap"
        ),
    ],
)
@pytest.mark.parametrize("of", ["azure", "fetch"])
def test_authorities_are_mounted_where_the_operator_looks(
    of: str, options: list[str], want_key: str
) -> None:
    manifests = render(*options)
    (found,) = of_kind(manifests, "Deployment")
    pod = found["spec"]["template"]["spec"]
    (volume,) = [volume for volume in pod["volumes"] if volume["name"] == f"{of}-ca"]
    (mount,) = [m for m in pod["containers"][0]["volumeMounts"] if m["name"] == f"{of}-ca"]
    assert volume["configMap"]["items"] == [{"key": want_key, "path": "ca.crt"}]
    want_file = Settings.from_env(environment(manifests)).model_dump()[f"{of}_ca_file"]
    assert f"{mount['mountPath']}/ca.crt" == want_file


def test_the_text_of_authorities_becomes_a_config_map() -> None:
    maps = of_kind(render("--values", str(CHART / "ci/gateway-values.yaml")), "ConfigMap")
    found = {each["metadata"]["name"]: each["data"]["ca.crt"].split("\n")[1] for each in maps}
    assert found == {
        "ft-finetune-operator-azure-ca": "MIIB",
        "ft-finetune-operator-fetch-ca": "MIIC",
    }


@pytest.mark.parametrize("of", ["azure", "fetch"])
def test_changed_authorities_restart_the_operator(of: str) -> None:
    def annotations(bundle: str) -> Any:
        return deployment("--set", f"{of}.caBundle={bundle}")["spec"]["template"]["metadata"][
            "annotations"
        ]

    pem = "-----BEGIN CERTIFICATE-----"
    assert annotations(f"{pem}one") != annotations(f"{pem}two")


@pytest.mark.parametrize(
    ("options", "want"),
    [
        pytest.param([], {"helm.sh/resource-policy": "keep"}, id="kept"),
        pytest.param(["--set", "crds.keep=false"], None, id="removed with the release"),
    ],
)
def test_the_crd_is_todays(options: list[str], want: Manifest | None) -> None:
    (rendered,) = of_kind(render(*options), "CustomResourceDefinition")
    assert rendered["metadata"].pop("annotations", None) == want
    today = ROOT / "crds" / f"{constants.GROUP}_{constants.PLURAL}.yaml"
    assert rendered == yaml.safe_load(today.read_text())


def test_the_crd_can_come_from_elsewhere() -> None:
    assert of_kind(render("--set", "crds.enabled=false"), "CustomResourceDefinition") == []


SPREAD = {
    "podAntiAffinity": {
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {
                "weight": 100,
                "podAffinityTerm": {
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {
                        "matchLabels": {
                            "app.kubernetes.io/name": "finetune-operator",
                            "app.kubernetes.io/instance": "ft",
                        }
                    },
                },
            }
        ]
    }
}
OWN_AFFINITY = {"nodeAffinity": {}}


@pytest.mark.parametrize(
    ("options", "want"),
    [
        pytest.param(["replicas=1"], None, id="one replica goes anywhere"),
        pytest.param(["replicas=2"], SPREAD, id="two prefer different nodes"),
        pytest.param(
            ["replicas=2", "affinity.nodeAffinity={}"], OWN_AFFINITY, id="unless said otherwise"
        ),
    ],
)
def test_replicas_stand_apart(options: list[str], want: Any) -> None:
    pod = deployment("--set-json", ",".join(options))["spec"]["template"]["spec"]
    assert pod.get("affinity") == want


@pytest.mark.parametrize(
    ("replicas", "want"),
    [
        pytest.param(0, [], id="none"),
        pytest.param(1, [], id="one: a drain must not wait for it"),
        pytest.param(2, [1], id="two: one at a time"),
        pytest.param(3, [1], id="three: one at a time"),
    ],
)
def test_a_drain_leaves_a_standby(replicas: int, want: list[int]) -> None:
    manifests = render("--set", f"replicas={replicas}")
    budgets = of_kind(manifests, "PodDisruptionBudget")
    assert [budget["spec"]["maxUnavailable"] for budget in budgets] == want
    (found,) = of_kind(manifests, "Deployment")
    for budget in budgets:
        assert budget["spec"]["selector"] == found["spec"]["selector"]


@pytest.mark.parametrize(
    ("option", "want"),
    [
        pytest.param("replica=2", "replica is not allowed", id="a misspelt value"),
        pytest.param("settings.leaseSeconds=5", "leaseSeconds is not allowed", id="no setting"),
        pytest.param("settings.workers=0", "workers", id="out of bounds"),
        pytest.param("tenants[0].namespace=a", "tenants.0", id="a tenant without anything"),
        pytest.param(
            "tenants[0].namespace=a,tenants[0].secretNames={x},"
            "tenants[1].namespace=a,tenants[1].serviceAccountNames={y}",
            "tenants names the namespace a twice",
            id="two Roles of one name",
        ),
        pytest.param(
            r"podLabels.app\.kubernetes\.io/name=x", "podLabels", id="a label of the chart's own"
        ),
        pytest.param(r"podLabels.finetune\.dev/leader=x", "podLabels", id="the leader's label"),
        pytest.param("extraEnv[0].value=x", "extraEnv.0", id="a variable without a name"),
        pytest.param(
            "extraEnv[0].name=FINETUNE_WORKERS", "extraEnv.0", id="a setting past its own value"
        ),
        pytest.param("prepare.env[0].name=X", "prepare.env.0", id="a variable without a value"),
        pytest.param(
            "prepare.env[0].name=HF_TOKEN,prepare.env[0].value=x",
            "prepare.env.0",
            id="a variable that the operator sets",
        ),
        pytest.param(
            "prepare.tolerations[0].effects=NoSchedule", "effects", id="a misspelt toleration"
        ),
        pytest.param(
            "prepare.tolerations[0].operator=Exists,prepare.tolerations[0].value=x",
            "prepare.tolerations.0",
            id="a toleration's value that is not compared",
        ),
        pytest.param(
            "prepare.tolerations[0].effect=NoSchedule",
            "prepare.tolerations.0",
            id="a toleration of nothing",
        ),
        pytest.param(
            "prepare.tolerations[0].key=a,prepare.tolerations[0].tolerationSeconds=5",
            "prepare.tolerations.0",
            id="a toleration's seconds without an end",
        ),
        pytest.param(
            "prepare.tolerations[0].key=a b", "prepare.tolerations.0.key", id="no taint's key"
        ),
        pytest.param(
            "prepare.tolerations[0].key=a,prepare.tolerations[0].value=b c",
            "prepare.tolerations.0.value",
            id="no taint's value",
        ),
        pytest.param("prepare.nodeSelector.a=b c", "prepare.nodeSelector.a", id="no label's value"),
        pytest.param("prepare.nodeSelector.a b=c", "prepare.nodeSelector", id="no label's key"),
        pytest.param("tenants[0].secretNames={*}", "tenants.0", id="a wildcard for Secrets"),
        pytest.param("fetch.allowedRanges={10.0.0.1}", "fetch.allowedRanges", id="no range"),
        pytest.param("fetch.deniedRanges={10.0.0.0/129}", "fetch.deniedRanges", id="too narrow"),
        pytest.param("azure.authorityHost=http://a", "authorityHost", id="tokens over http"),
        pytest.param("azure.caBundle=x", "azure.caBundle", id="no certificate"),
        pytest.param("fetch.caBundle=x", "fetch.caBundle", id="no certificate for pods"),
        pytest.param(
            "azure.caBundle=x,azure.caConfigMap.name=y", "azure", id="the CA from two places"
        ),
        pytest.param(
            "fetch.caBundle=x,fetch.caConfigMap.name=y", "fetch", id="the pods' CA from two places"
        ),
    ],
)
def test_values_that_mean_nothing_are_refused(option: str, want: str) -> None:
    with pytest.raises(HelmRefused, match=re.escape(want)):
        render("--set", option)


def settings(text: str) -> Settings:
    """What the operator makes of chart values `name=1,other=2`."""
    snake = {re.sub("([A-Z])", r"_\1", name).upper(): value for name, value in pairs(text)}
    return Settings.from_env({f"{PREFIX}{name}": value for name, value in snake.items()})


def pairs(text: str) -> list[tuple[str, str]]:
    """`name=1,other=2`, taken apart."""
    return [(name, value) for name, _, value in (each.partition("=") for each in text.split(","))]


def set_settings(text: str) -> str:
    """The same for Helm's `--set-json`."""
    return ",".join(f"settings.{name}={value}" for name, value in pairs(text))


# One setting alone at the edge: the chart must know the operator's own defaults of the others.
@pytest.mark.parametrize(
    ("fits", "does_not", "want"),
    [
        pytest.param(
            "leaseRenewDeadlineSeconds=9.9",
            "leaseRenewDeadlineSeconds=10",
            "settings.leaseRenewDeadlineSeconds (10) must be shorter than"
            " settings.leaseDurationSeconds (10): a leader must end before another one begins",
            id="a leader that would outlive its lease",
        ),
        pytest.param(
            "leaseDurationSeconds=7.1",
            "leaseDurationSeconds=7",
            "settings.leaseRenewDeadlineSeconds (7) must be shorter than"
            " settings.leaseDurationSeconds (7): a leader must end before another one begins",
            id="a lease that ends before its leader",
        ),
        pytest.param(
            "leaseRetrySeconds=3.5",
            "leaseRetrySeconds=3.6",
            "settings.leaseRetrySeconds (3.6) must be at most half of"
            " settings.leaseRenewDeadlineSeconds (7): a leader must be able to renew in time",
            id="a leader that would renew too late",
        ),
        pytest.param(
            "azureCreateTimeoutSeconds=7.9",
            "azureCreateTimeoutSeconds=8",
            "settings.azureCreateTimeoutSeconds (8) and settings.leaseRetrySeconds (2) together"
            " must be shorter than settings.leaseDurationSeconds (10): a hosted job is created"
            " only while the lease outlasts the request",
            id="a submission that would not fit into the lease",
        ),
        pytest.param(
            "leaseDurationSeconds=60,leaseRenewDeadlineSeconds=40,azureCreateTimeoutSeconds=30",
            "leaseDurationSeconds=60,leaseRenewDeadlineSeconds=60,azureCreateTimeoutSeconds=30",
            "settings.leaseRenewDeadlineSeconds (60) must be shorter than"
            " settings.leaseDurationSeconds (60)",
            id="a longer lease",
        ),
    ],
)
def test_the_chart_and_the_operator_refuse_the_same_leases(
    fits: str, does_not: str, want: str
) -> None:
    render("--set-json", set_settings(fits))
    settings(fits)
    with pytest.raises(HelmRefused, match=re.escape(want)):
        render("--set-json", set_settings(does_not))
    with pytest.raises(InvalidSettings):
        settings(does_not)


def leaves(schema: Manifest, path: str = "") -> set[str]:
    """The paths of the values that a schema knows."""
    properties = schema.get("properties") or schema.get("items", {}).get("properties")
    if not properties:
        return {path}
    mark = "[]" if "items" in schema else ""
    below = [leaves(child, f"{path}{mark}.{name}") for name, child in properties.items()]
    return {leaf.lstrip(".") for paths in below for leaf in paths}


def test_the_readme_names_every_value() -> None:
    readme = (CHART / "README.md").read_text()
    schema = json.loads((CHART / "values.schema.json").read_text())
    for path in leaves(schema) - {"global"}:
        name = path.rsplit(".", 1)[-1]
        assert re.search(rf"[`.{{,]{name}[`,}}]", readme), path


def test_the_names_of_two_releases_do_not_meet() -> None:
    def names(release: str) -> set[tuple[str, str]]:
        manifests = render("--set", "crds.enabled=false", release=release)
        return {(m["kind"], m["metadata"]["name"]) for m in manifests}

    assert names("one") & names("two") == set()
