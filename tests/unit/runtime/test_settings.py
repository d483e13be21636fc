from pathlib import Path

import pytest

from finetune_operator.settings import InvalidSettings, Settings


@pytest.mark.parametrize(
    ("name", "value", "field", "want"),
    [
        pytest.param("FINETUNE_WORKERS", "4", "workers", 4, id="a number"),
        pytest.param(
            "FINETUNE_NAMESPACES", "a, b\nc", "namespaces", ("a", "b", "c"), id="a list of words"
        ),
        pytest.param("FINETUNE_NAMESPACES", "", "namespaces", (), id="empty means the default"),
        pytest.param("FINETUNE_NAMESPACES", " , ", "namespaces", (), id="separators alone"),
        pytest.param(
            "FINETUNE_LEASE_RETRY_SECONDS", "0.5", "lease_retry_seconds", 0.5, id="seconds"
        ),
        pytest.param(
            "FINETUNE_PREPARE_NODE_SELECTOR",
            '{"pool": "general"}',
            "prepare_node_selector",
            {"pool": "general"},
            id="labels",
        ),
        pytest.param(
            "FINETUNE_PREPARE_ENV",
            '[{"name": "NO_PROXY", "value": ".svc, 10.0.0.0/8"}]',
            "prepare_env",
            ({"name": "NO_PROXY", "value": ".svc, 10.0.0.0/8"},),
            id="variables",
        ),
    ],
)
def test_a_variable_sets_its_field(name: str, value: str, field: str, want: object) -> None:
    assert Settings.from_env({name: value}).model_dump()[field] == want


def test_what_kubernetes_adds_for_services_is_not_ours() -> None:
    settings = Settings.from_env({"FINETUNE_OPERATOR_PORT": "tcp://10.0.0.1:443", "PATH": "/bin"})

    assert settings == Settings()


@pytest.mark.parametrize(
    ("environ", "want"),
    [
        pytest.param({"FINETUNE_WORKERS": "many"}, "FINETUNE_WORKERS", id="not a number"),
        pytest.param({"FINETUNE_WORKERS": "0"}, "FINETUNE_WORKERS", id="no worker at all"),
        pytest.param({"FINETUNE_RELIST_SECONDS": "-1"}, "FINETUNE_RELIST_SECONDS", id="negative"),
        pytest.param(
            {"FINETUNE_AZURE_LIST_LAG_SECONDS": "0"},
            "FINETUNE_AZURE_LIST_LAG_SECONDS must be greater than 0",
            id="a submission that nobody looks for before it is repeated",
        ),
        pytest.param(
            {"FINETUNE_AZURE_ALLOWED_ENDPOINTS": "https://a.b,gateway.example.com:8443"},
            "AZURE_ALLOWED_ENDPOINTS `gateway.example.com:8443` must be an address https://HOST",
            id="a host without https://",
        ),
        pytest.param(
            {"FINETUNE_AZURE_ALLOWED_ENDPOINTS": "https://a.b/openai"},
            "`https://a.b/openai` must be an address https://HOST.* without a path",
            id="an endpoint with a path",
        ),
        pytest.param(
            {"FINETUNE_PREPARE_ENV": "HTTPS_PROXY=x"}, "PREPARE_ENV Invalid JSON", id="no JSON"
        ),
        pytest.param(
            {"FINETUNE_PREPARE_ENV": '[{"name": "HF_TOKEN", "value": "x"}]'},
            "PREPARE_ENV HF_TOKEN is set by the operator itself: remove it",
            id="a variable of ours",
        ),
        pytest.param(
            {"FINETUNE_PREPARE_TOLERATIONS": '[{"effect": "Never"}]'},
            "PREPARE_TOLERATIONS must be 'NoSchedule'",
            id="an effect that no taint has",
        ),
        pytest.param(
            {"FINETUNE_PREPARE_TOLERATIONS": '[{"operator": "Exists", "key": "a", "value": "b"}]'},
            "PREPARE_TOLERATIONS a toleration with `operator: Exists` must have no `value`",
            id="a value that is not compared",
        ),
        pytest.param(
            {"FINETUNE_PREPARE_TOLERATIONS": '[{"effect": "NoSchedule"}]'},
            "PREPARE_TOLERATIONS a toleration without a `key` must have `operator: Exists`",
            id="a toleration of nothing",
        ),
        pytest.param(
            {"FINETUNE_PREPARE_TOLERATIONS": '[{"key": "a", "tolerationSeconds": 5}]'},
            "PREPARE_TOLERATIONS `tolerationSeconds` goes with `effect: NoExecute` only",
            id="seconds without an end",
        ),
        pytest.param(
            {"FINETUNE_PREPARE_NODE_SELECTOR": '{"a": "b c"}'},
            "PREPARE_NODE_SELECTOR the value of a label must be empty, or letters",
            id="no label's value",
        ),
        pytest.param(
            {"FINETUNE_PREPARE_NODE_SELECTOR": '{"a b": "c"}'},
            "PREPARE_NODE_SELECTOR the key of a label or annotation must be NAME or DOMAIN/NAME",
            id="no label's key",
        ),
        pytest.param({"FINETUNE_IMAGE_PULL_POLICY": "No"}, "IMAGE_PULL_POLICY", id="not a choice"),
        pytest.param(
            {"FINETUNE_LEASE_RENEW_DEADLINE_SECONDS": "10"},
            "lease_renew_deadline_seconds must be shorter than lease_duration_seconds",
            id="a leader that would outlive its lease",
        ),
        pytest.param(
            {"FINETUNE_AZURE_CREATE_TIMEOUT_SECONDS": "8"},
            "azure_create_timeout_seconds and lease_retry_seconds together must be shorter than"
            " lease_duration_seconds",
            id="a submission that would never fit into the lease",
        ),
        pytest.param(
            {"FINETUNE_LEASE_RETRY_SECONDS": "4"},
            "lease_retry_seconds must be at most half of lease_renew_deadline_seconds",
            id="a leader that would never renew in time",
        ),
        pytest.param(
            {"FINETUNE_FETCH_ALLOWED_RANGES": "10.0.0.0/8,10.0.0.0/33"},
            "FETCH_ALLOWED_RANGES `10.0.0.0/33` must be a CIDR range such as 10.20.0.0/16",
            id="an allowed range that is none",
        ),
        pytest.param(
            {"FINETUNE_FETCH_DENIED_RANGES": "10.0.0.256/24"},
            "FETCH_DENIED_RANGES `10.0.0.256/24` must be a CIDR range",
            id="a denied range that is none",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_named(environ: dict[str, str], want: str) -> None:
    with pytest.raises(InvalidSettings, match=want):
        Settings.from_env(environ)


@pytest.mark.parametrize(
    "environ",
    [
        pytest.param({"FINETUNE_LEASE_RETRY_SECONDS": "3.5"}, id="two renewals before the end"),
        pytest.param({"FINETUNE_AZURE_CREATE_TIMEOUT_SECONDS": "7.9"}, id="just within the lease"),
        pytest.param({"FINETUNE_FETCH_DENIED_RANGES": "10.96.0.1/12,fd00::/8"}, id="ranges"),
    ],
)
def test_values_that_just_fit(environ: dict[str, str]) -> None:
    assert Settings.from_env(environ) != Settings()


@pytest.mark.parametrize("variable", ["FINETUNE_AZURE_CA_FILE", "FINETUNE_FETCH_CA_FILE"])
@pytest.mark.parametrize(
    ("size", "want"),
    [
        pytest.param(None, "there is no file", id="missing"),
        pytest.param(100, "holds no certificates", id="something else"),
        pytest.param(100 * 1024 + 1, "larger than 100 KiB: leave the public", id="too large"),
    ],
)
def test_authorities_that_pods_cannot_be_given(
    variable: str, size: int | None, want: str, tmp_path: Path
) -> None:
    file = tmp_path / "ca.crt"
    if size is not None:
        file.write_bytes(b"x" * size)
    with pytest.raises(InvalidSettings, match=f"{variable}: .*{want}"):
        Settings.from_env({variable: str(file)}).require_files()


@pytest.mark.parametrize(
    ("settings", "want"),
    [
        pytest.param(Settings(), "", id="no Service: pods do not report"),
        pytest.param(Settings(progress_service="p.ops.svc"), "https://p.ops.svc", id="port 443"),
        pytest.param(
            Settings(progress_service="p.ops.svc", progress_service_port=8443),
            "https://p.ops.svc:8443",
            id="another port",
        ),
    ],
)
def test_progress_url(settings: Settings, want: str) -> None:
    assert settings.progress_url == want
