import pytest

from finetune_api.reasons import Reason
from finetune_operator.adapters.resources import SECRETS, SERVICE_ACCOUNTS
from finetune_operator.backends.azure_openai.api_key import SecretKey
from finetune_operator.backends.azure_openai.credentials import credential_of
from finetune_operator.backends.azure_openai.identity import Authority
from finetune_operator.backends.azure_openai.ports import Credential
from finetune_operator.core.errors import Transient
from support.emulator import API_KEY
from support.hosted import IDENTITY_AUTH, NAMESPACE, SECRET, SECRET_KEY, Namespace, a_hosted_job

AUTHORITY = Authority(host="login.example", ca_file=None, timeout=5)
OPERATOR = "ops:finetune-operator"
SCOPE = "https://cognitiveservices.azure.com/.default"


def credential(namespace: Namespace, auth: object = None) -> Credential:
    changes = {} if auth is None else {"spec.azureOpenAI.auth": auth}
    return credential_of(a_hosted_job(changes), namespace, AUTHORITY, OPERATOR)


async def test_the_key_is_read_once_a_minute() -> None:
    namespace, now = Namespace(), [0.0]
    ref = a_hosted_job().spec.azure_open_ai.auth.api_key_secret_ref
    key = SecretKey(NAMESPACE, ref, namespace, OPERATOR, clock=lambda: now[0])
    assert await key.bearer(SCOPE) == API_KEY
    namespace.secrets[SECRET][SECRET_KEY] = "rotated\n"
    now[0] = 59
    assert await key.bearer(SCOPE) == API_KEY
    now[0] = 60
    assert await key.bearer(SCOPE) == "rotated"
    assert namespace.requests == 2


async def test_a_refused_key_is_read_anew() -> None:
    namespace = Namespace()
    key = credential(namespace)
    await key.bearer(SCOPE)
    namespace.secrets[SECRET][SECRET_KEY] = "rotated"
    key.forget()
    assert await key.bearer(SCOPE) == "rotated"


@pytest.mark.parametrize(
    ("secrets", "want_words"),
    [
        pytest.param({}, "no Secret `azure` in namespace team-a", id="no Secret"),
        pytest.param({SECRET: {}}, "Secret `azure` has no key `api-key`", id="empty Secret"),
        pytest.param({SECRET: {"key": "x"}}, "has no key `api-key`", id="another key"),
        pytest.param({SECRET: {SECRET_KEY: " \n"}}, "is no API key", id="blank"),
        pytest.param({SECRET: {SECRET_KEY: "a\r\nHost: evil"}}, "is no API key", id="line break"),
        pytest.param({SECRET: {SECRET_KEY: "schlüssel"}}, "is no API key", id="not ASCII"),
    ],
)
async def test_a_missing_key_waits_for_the_user(
    secrets: dict[str, dict[str, str]], want_words: str
) -> None:
    namespace = Namespace()
    namespace.secrets = secrets
    with pytest.raises(Transient) as caught:
        await credential(namespace).bearer(SCOPE)
    assert caught.value.reason is Reason.SECRET_NOT_FOUND
    assert caught.value.waits_for_user
    assert want_words in caught.value.message
    assert "evil" not in caught.value.message


async def test_a_secret_out_of_reach_names_the_role_to_apply() -> None:
    namespace = Namespace()
    namespace.denies = {SECRETS}
    with pytest.raises(Transient) as caught:
        await credential(namespace).bearer(SCOPE)
    assert caught.value.reason is Reason.SECRET_ACCESS_DENIED
    assert caught.value.waits_for_user
    assert caught.value.message == (
        "The operator may not read Secret `azure` in namespace team-a: add {namespace: team-a,"
        " secretNames: [azure]} to the chart's `tenants`, or allow it to the operator's"
        " ServiceAccount: kubectl -n team-a create role finetune-secrets-azure --verb=get"
        " --resource=secrets --resource-name=azure && kubectl -n team-a create rolebinding"
        " finetune-secrets-azure --role=finetune-secrets-azure"
        " --serviceaccount=ops:finetune-operator"
    )


async def test_a_missing_service_account() -> None:
    namespace = Namespace()
    namespace.service_accounts = set()
    with pytest.raises(Transient) as caught:
        await credential(namespace, IDENTITY_AUTH).bearer(SCOPE)
    assert caught.value.reason is Reason.SERVICE_ACCOUNT_NOT_FOUND
    assert "`trainer` in namespace team-a" in caught.value.message


async def test_tokens_of_a_service_account_out_of_reach() -> None:
    namespace = Namespace()
    namespace.denies = {SERVICE_ACCOUNTS}
    with pytest.raises(Transient) as caught:
        await credential(namespace, IDENTITY_AUTH).bearer(SCOPE)
    assert caught.value.reason is Reason.PERMISSION_DENIED
    for want in (
        "tokens of ServiceAccount `trainer` in namespace team-a: add {namespace: team-a,"
        " serviceAccountNames: [trainer]}",
        "kubectl -n team-a create role finetune-token-trainer --verb=create"
        " --resource=serviceaccounts/token --resource-name=trainer",
        "--role=finetune-token-trainer --serviceaccount=ops:finetune-operator",
    ):
        assert want in caught.value.message


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"spec.azureOpenAI.auth.apiKeySecretRef.name": "b"}, id="another Secret"),
        pytest.param({"spec.azureOpenAI.auth.apiKeySecretRef.key": "b"}, id="another key"),
        pytest.param({"metadata.namespace": "team-b"}, id="another namespace"),
        pytest.param({"spec.azureOpenAI.auth": IDENTITY_AUTH}, id="an identity"),
    ],
)
def test_only_equal_references_are_one_credential(changes: dict[str, object]) -> None:
    namespace = Namespace()
    ours = credential_of(a_hosted_job(name="a"), namespace, AUTHORITY, OPERATOR)
    same = credential_of(a_hosted_job(name="b"), namespace, AUTHORITY, OPERATOR)
    other = credential_of(a_hosted_job(changes), namespace, AUTHORITY, OPERATOR)
    assert ours.identity == same.identity
    assert ours.identity != other.identity


def test_a_job_without_credentials_is_a_fault_of_the_schema() -> None:
    with pytest.raises(ValueError, match="neither a key nor an identity"):
        credential(Namespace(), {})
