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
        pytest.param({"FINETUNE_IMAGE_PULL_POLICY": "No"}, "IMAGE_PULL_POLICY", id="not a choice"),
        pytest.param(
            {"FINETUNE_LEASE_RENEW_DEADLINE_SECONDS": "10"},
            "lease_renew_deadline_seconds must be shorter than lease_duration_seconds",
            id="a leader that would outlive its lease",
        ),
        pytest.param(
            {"FINETUNE_AZURE_CREATE_TIMEOUT_SECONDS": "10"},
            "azure_create_timeout_seconds must be shorter than lease_duration_seconds",
            id="a submission that would outlive the lease",
        ),
    ],
)
def test_a_value_that_cannot_be_used_is_named(environ: dict[str, str], want: str) -> None:
    with pytest.raises(InvalidSettings, match=want):
        Settings.from_env(environ)


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
