"""The rules on names, digests, labels and numbers: for each what it lets through and refuses."""

from collections.abc import Iterator

from support.builders_api import Manifest, changed
from support.graders import a_check
from support.rules_rows import HOSTED, PODS, RuleRow, creates

_NAME = (
    "must be the name of an object: lower-case letters, digits, `-` and `.`, with a letter or"
    " digit at both ends"
)
_KEY = "must be a key: letters, digits, `-`, `_` and `.`"
_GOOD_NAMES = ("gsm8k", "a", "my-data.v2")
_BAD_NAMES = ("GSM8K", "-a", "a-", "a_b", "a/b", "a b", "a\n", "")
_LABEL_VALUE = (
    "the value of a label must be empty, or letters, digits, `-`, `_` and `.` with a letter or"
    " digit at both ends"
)
_GOOD_VALUES = ("", "a", "H200_x.1-b", "a" * 63)
_BAD_VALUES = ("a b", "-a", "a-", "a/b", "\u00e9", "a\n")


def _texts(
    manifest: Manifest,
    at: str,
    message: str,
    good: tuple[str, ...],
    bad: tuple[str, ...],
    **beside: str,
) -> Iterator[RuleRow]:
    """Rows for one string: that of a field, of a label, or in the only entry of a list."""
    path, mark, member = at.partition(".*")

    def with_text(text: str) -> Manifest:
        entry = [{**beside, member.lstrip("."): text}] if member else {"team": text}
        return changed(manifest, {path: entry if mark else text})

    yield from creates(
        at,
        message,
        allowed={repr(text): with_text(text) for text in good},
        refused={repr(text): with_text(text) for text in bad},
    )


def _names() -> Iterator[RuleRow]:
    hub = changed(PODS, {"spec.model": {"uri": "hf://org/model"}})
    identity = {"clientID": "c-1", "tenantID": "t-1"}
    federated = changed(HOSTED, {"spec.azureOpenAI.auth": {"workloadIdentity": identity}})
    volume = changed(PODS, {"spec.output.volume.path": "orca"})
    yield from _texts(hub, "spec.model.secretRef.name", _NAME, _GOOD_NAMES, _BAD_NAMES)
    for data_set in ("spec.data.training", "spec.data.validation"):
        entry = changed(PODS, {data_set: {"configMap": {"name": "a", "key": "b"}}})
        file = changed(PODS, {data_set: {"uri": "hf://datasets/org/name/x.jsonl"}})
        for manifest, at in ((entry, f"{data_set}.configMap"), (file, f"{data_set}.secretRef")):
            yield from _texts(manifest, f"{at}.name", _NAME, _GOOD_NAMES, _BAD_NAMES)
        yield from _keys(entry, f"{data_set}.configMap.key")
    auth = "spec.azureOpenAI.auth"
    yield from _keys(HOSTED, f"{auth}.apiKeySecretRef.key")
    stacked = changed(HOSTED, {"spec.model": {"jobRef": {"name": "sft"}}})
    template = "spec.kubernetes.podTemplate"
    for manifest, at in (
        (HOSTED, f"{auth}.apiKeySecretRef.name"),
        (federated, f"{auth}.workloadIdentity.serviceAccountName"),
        (stacked, "spec.model.jobRef.name"),
        (volume, "spec.output.volume.claimName"),
        (PODS, "spec.kubernetes.queueName"),
        (PODS, f"{template}.priorityClassName"),
        (PODS, f"{template}.runtimeClassName"),
        (PODS, f"{template}.schedulerName"),
        (PODS, f"{template}.imagePullSecrets.*.name"),
    ):
        yield from _texts(manifest, at, _NAME, _GOOD_NAMES, _BAD_NAMES)


def _keys(manifest: Manifest, at: str) -> Iterator[RuleRow]:
    yield from _texts(manifest, at, _KEY, ("train.jsonl", "HF_TOKEN", "-"), ("a/b", "a b", ""))


def _models_and_data() -> Iterator[RuleRow]:
    yield from _texts(
        HOSTED,
        "spec.model.name",
        "the `name` of a model must be as the service spells it, such as gpt-4.1-mini-2025-04-14:"
        " letters, digits, '.', '_', ':' and '-'",
        ("gpt-4.1-mini", "ft:gpt-4o:org::id", "g" * 253),
        ("gpt 4", "-gpt", "org/model", "gpt\n", ""),
    )
    yield from _texts(
        HOSTED,
        "spec.azureOpenAI.suffix",
        "`suffix` must be letters, digits, '_' and '-', such as gsm8k-v2",
        ("gsm8k-v2", "_", "s" * 18),
        ("gsm8k v2", "v1.2", "a/b", "a\n", ""),
    )
    for data_set in ("spec.data.training", "spec.data.validation"):
        yield from _texts(
            changed(PODS, {data_set: {"uri": "pvc://d/x"}}),
            f"{data_set}.sha256",
            "`sha256` must be 64 hexadecimal digits in lower case, as sha256sum prints them",
            ("0123456789abcdef" * 4,),
            ("A" * 64, "a" * 63, "g" * 64, ""),
        )


def _pod_template() -> Iterator[RuleRow]:
    template = "spec.kubernetes.podTemplate"
    yield from _texts(
        PODS,
        f"{template}.env.*.name",
        "the `name` of a variable must be letters, digits and '_', and must not begin with a digit",
        ("OMP_NUM_THREADS", "_x", "a1"),
        ("1ST", "a-b", "a b", ""),
        value="1",
    )
    for at in (f"{template}.labels.*", f"{template}.nodeSelector.*"):
        yield from _texts(PODS, at, _LABEL_VALUE, _GOOD_VALUES, _BAD_VALUES)
    toleration = f"{template}.tolerations.*"
    yield from _texts(
        PODS, f"{toleration}.value", _LABEL_VALUE, _GOOD_VALUES, _BAD_VALUES, key="gpu"
    )
    yield from _texts(
        PODS,
        f"{toleration}.key",
        "the `key` of a toleration must be the key of a taint, such as nvidia.com/gpu",
        ("gpu", "nvidia.com/gpu", "Dedicated_x.1"),
        ("nvidia.com/", "a b", "/gpu", "a/b/c", "-a", ""),
    )


def _numbers() -> Iterator[RuleRow]:
    reinforced = {"type": "Reinforcement", "reinforcement": {"grader": a_check()}}
    validated = {"spec.data.validation": {"configMap": {"name": "gsm8k", "key": "v.jsonl"}}}
    for manifest, at in (
        (PODS, "spec.hyperparameters.learningRate"),
        (PODS, "spec.hyperparameters.learningRateMultiplier"),
        (changed(HOSTED, {"spec.method": {"type": "DPO"}}), "spec.method.dpo.beta"),
        (changed(HOSTED, {"spec.method": {"type": "DPO"}}), "spec.method.dpo.l2Multiplier"),
        (
            changed(HOSTED, {"spec.method": reinforced, **validated}),
            "spec.method.reinforcement.computeMultiplier",
        ),
    ):
        yield from creates(
            at,
            "must be above 0 and begin with a digit, such as `0.0002` or `2e-4`",
            allowed={text: changed(manifest, {at: text}) for text in ("2e-4", "0.5", "2", "1.5E0")},
            refused={
                text: changed(manifest, {at: text})
                for text in (".5", "0", "0.0", "0e5", "-1", "1e999", "two", "1 ")
            },
        )
    yield from creates(
        "spec.parameterEfficient.dropout",
        "must be 0 or above and below 1, beginning with 0, such as `0.1`",
        allowed={
            text: changed(PODS, {"spec.parameterEfficient.dropout": text})
            for text in ("0", "0.1", "0.05")
        },
        refused={
            text: changed(PODS, {"spec.parameterEfficient.dropout": text})
            for text in ("1", "1.0", ".1", "-0.1", "1e-1")
        },
    )
    stacked = changed(HOSTED, {"spec.model": {"jobRef": {"name": "sft"}}})
    at = "spec.model.jobRef.checkpoint"
    yield from creates(
        at,
        "`checkpoint` must be Final, Best (by validation loss) or a step that was kept, such as"
        " step-120",
        allowed={text: changed(stacked, {at: text}) for text in ("Final", "Best", "step-0")},
        refused={text: changed(stacked, {at: text}) for text in ("best", "step-", "120", "")},
    )
    quantity = "must be a quantity such as `2`, `500m` or `16Gi`, and not below 0"
    for field in ("requests", "limits"):
        path = f"spec.kubernetes.resources.{field}"
        yield from creates(
            f"{path}.*",
            quantity,
            allowed={
                repr(value): changed(PODS, {path: {"cpu": value}})
                for value in (0, 2, "2", "0.5", "500m", "16Gi", "1e3", 2**40)
            },
            refused={
                repr(value): changed(PODS, {path: {"cpu": value}})
                for value in (-1, "-1", "1X", "1 Gi", ".5", "1e-3", "two", "")
            },
        )


def rows() -> list[RuleRow]:
    """Every row of these rules."""
    return [*_names(), *_models_and_data(), *_pod_template(), *_numbers()]
