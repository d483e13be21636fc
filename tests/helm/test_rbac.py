"""What the operator may do: exactly what its code does, and to Secrets next to nothing."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_operator.adapters import resources
from finetune_operator.adapters.resources import Resource
from support.chart import CHART, NAMESPACE, ROOT, Manifest, of_kind, render, shapes

OPERATOR = ROOT / "operator" / "finetune_operator"
NAMESPACED = ("--values", str(CHART / "ci/namespaced-values.yaml"))
OWN = "ft-finetune-operator"
WORK = f"{NAMESPACE}-{OWN}"

each_shape = pytest.mark.parametrize(
    "values", [pytest.param(path, id=path.name.removesuffix("-values.yaml")) for path in shapes()]
)

# In the whole cluster, whatever is served: a namespace that goes may lose its Roles first.
WANT_JOBS = {
    "finetunejobs": {"get", "list", "watch", "patch"},
    "finetunejobs/status": {"patch"},
}
# In the namespaces that are served: resource, verbs. One row for one rule.
WANT_WORK = {
    "finetunejobs/finalizers": {"update"},
    "jobs": {"get", "list", "watch", "create", "patch", "delete"},
    "pods": {"list", "watch"},
    "configmaps": {"get", "create", "patch"},
    "persistentvolumeclaims": {"get", "create", "patch"},
    "serviceaccounts": {"create"},
    "events": {"list", "create"},
}
# In the operator's own namespace: resource, the name it is for, verbs.
WANT_OWN = {
    ("leases", ""): {"create"},
    ("leases", OWN): {"get", "patch"},
    ("secrets", ""): {"create"},
    ("secrets", f"{OWN}-progress-ca"): {"get", "patch"},
    ("pods", ""): {"patch"},
}


def rules(manifests: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """Every rule with the role it stands in."""
    for role in of_kind(manifests, "ClusterRole") + of_kind(manifests, "Role"):
        for rule in role["rules"]:
            yield role, rule


def role(manifests: list[Manifest], kind: str, name: str, namespace: str | None = None) -> Manifest:
    """The role of this name."""
    for found in of_kind(manifests, kind):
        meta = found["metadata"]
        if meta["name"] == name and namespace in (None, meta.get("namespace")):
            return found
    raise AssertionError(f"no {kind} {name}")


def granted(found: Manifest) -> dict[str, set[str]]:
    """Resource: verbs."""
    verbs: dict[str, set[str]] = {}
    for rule in found["rules"]:
        verbs.setdefault(rule["resources"][0], set()).update(rule["verbs"])
    return verbs


@each_shape
def test_every_rule_is_for_one_resource_and_says_each_verb(values: Path) -> None:
    for found, rule in rules(render("--values", str(values))):
        assert len(rule["apiGroups"]) == len(rule["resources"]) == 1, found["metadata"]["name"]
        words = [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "*" not in words, found["metadata"]["name"]


@each_shape
def test_nobody_may_list_or_watch_secrets(values: Path) -> None:
    for found, rule in rules(render("--values", str(values))):
        if "secrets" in rule["resources"]:
            assert found["kind"] == "Role"
            assert set(rule["verbs"]) <= {"get", "patch", "create"}
            assert rule.get("resourceNames") or rule["verbs"] == ["create"]


@each_shape
def test_nothing_that_lets_rights_grow_is_granted(values: Path) -> None:
    for found, rule in rules(render("--values", str(values))):
        assert rule["apiGroups"] != ["rbac.authorization.k8s.io"]
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"])
        for resource in ("serviceaccounts/token", "pods/exec", "nodes"):
            if resource in rule["resources"]:
                assert rule.get("resourceNames"), found["metadata"]["name"]


def test_in_the_whole_cluster_it_does_its_work() -> None:
    assert granted(role(render(), "ClusterRole", WORK)) == WANT_JOBS | WANT_WORK


def test_in_some_namespaces_it_does_the_same_work_there() -> None:
    manifests = render(*NAMESPACED)
    assert granted(role(manifests, "ClusterRole", WORK)) == WANT_JOBS
    for namespace in ("team-a", "team-b"):
        assert granted(role(manifests, "Role", WORK, namespace)) == WANT_WORK


def test_in_its_own_namespace_it_keeps_lease_and_ca() -> None:
    own = role(render(), "Role", OWN, NAMESPACE)
    got = {
        (rule["resources"][0], (rule.get("resourceNames") or [""])[0]): set(rule["verbs"])
        for rule in own["rules"]
    }
    assert got == WANT_OWN


def test_token_review_stands_alone() -> None:
    for options in ((), NAMESPACED):
        found = role(render(*options), "ClusterRole", f"{WORK}-token-review")
        assert granted(found) == {"tokenreviews": {"create"}}


def test_a_tenant_grants_what_it_names() -> None:
    tenant = role(render(*NAMESPACED), "Role", f"{WORK}-tenant", "team-b")
    assert tenant["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["secrets"],
            "resourceNames": ["azure-openai", "azure-openai-2"],
            "verbs": ["get"],
        },
        {
            "apiGroups": [""],
            "resources": ["serviceaccounts/token"],
            "resourceNames": ["tuner"],
            "verbs": ["create"],
        },
    ]


@each_shape
def test_every_binding_binds_a_role_that_exists_to_the_operator(values: Path) -> None:
    manifests = render("--values", str(values))
    (account,) = of_kind(manifests, "ServiceAccount")
    bindings = of_kind(manifests, "RoleBinding") + of_kind(manifests, "ClusterRoleBinding")
    assert len(bindings) >= 3
    for binding in bindings:
        reference, namespace = binding["roleRef"], binding["metadata"].get("namespace")
        role(manifests, reference["kind"], reference["name"], namespace)
        assert binding["subjects"] == [
            {"kind": "ServiceAccount", "name": account["metadata"]["name"], "namespace": NAMESPACE}
        ]


@pytest.mark.parametrize(
    ("suffix", "label", "want"),
    [
        pytest.param("viewer", "view", {"get", "list", "watch"}, id="view"),
        pytest.param(
            "editor",
            "edit",
            {"get", "list", "watch", "create", "update", "patch", "delete"},
            id="edit",
        ),
    ],
)
def test_people_get_their_rights_by_aggregation(suffix: str, label: str, want: set[str]) -> None:
    found = role(render(), "ClusterRole", f"{WORK}-{suffix}")
    key = f"rbac.authorization.k8s.io/aggregate-to-{label}"
    assert found["metadata"]["labels"][key] == "true"
    assert granted(found)["finetunejobs"] == want
    assert granted(found)["finetunejobs/status"] == {"get"}


# The methods of adapters.api.Api and the verb that each needs.
_VERBS = {
    "get": "get",
    "pages": "list",
    "list_all": "list",
    "create": "create",
    "create_subresource": "create",
    "merge_patch": "patch",
    "delete": "delete",
    "watch": "watch",
}
_RESOURCES: dict[str, Resource] = {
    name: value for name, value in vars(resources).items() if isinstance(value, Resource)
}
_TENANTS = {("secrets", "get"), ("serviceaccounts/token", "create")}
# What is asked for where no call names its resource.
_ASKED_OTHERWISE = {
    ("finetunejobs", "watch"),  # by kopf
    ("finetunejobs/status", "patch"),  # Writer, with the subresource as an argument
    ("finetunejobs/finalizers", "update"),  # by admission, for ownerReferences that block deletion
    ("jobs", "list"),  # the informers, with the resource as an argument
    ("jobs", "watch"),
    ("pods", "watch"),
    ("configmaps", "create"),  # Cluster, with the resource as an argument
    ("persistentvolumeclaims", "create"),
}


def calls(path: Path) -> Iterator[tuple[str, str]]:
    """Resource and verb of each request in a module that names its resource."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        first = node.args[0] if node.args else None
        if node.func.attr in _VERBS and isinstance(first, ast.Name) and first.id in _RESOURCES:
            plural, sub = _RESOURCES[first.id].plural, _subresource(node)
            yield (f"{plural}/{sub}" if sub else plural), _VERBS[node.func.attr]


def _subresource(call: ast.Call) -> Any:
    given = [word.value for word in call.keywords if word.arg == "subresource"]
    if isinstance(call.func, ast.Attribute) and call.func.attr == "create_subresource":
        given.append(call.args[3])
    return given[0].value if given and isinstance(given[0], ast.Constant) else ""


def test_what_the_code_asks_for_is_granted_and_nothing_else() -> None:
    asked = {call for path in OPERATOR.rglob("*.py") for call in calls(path)}
    every = {(name, verb) for name, verbs in (WANT_JOBS | WANT_WORK).items() for verb in verbs}
    every |= {(name, verb) for (name, _), verbs in WANT_OWN.items() for verb in verbs}
    every |= _TENANTS | {("tokenreviews", "create")}
    assert asked & _ASKED_OTHERWISE == set()
    assert asked | _ASKED_OTHERWISE == every
