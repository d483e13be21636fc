"""The rules of methods and graders: for each the manifests it lets through and refuses."""

from collections.abc import Iterator
from typing import Any

from finetune_api.graders import GraderType, needs, takes
from support.builders_api import ABSENT, Manifest, changed
from support.graders import a_check, a_multi, singles
from support.rules_rows import HOSTED, PODS, RuleRow, creates, hosted_with, pods_with

_METHOD = "spec.method"
_GRADER = "spec.method.reinforcement.grader"
_PART = f"{_GRADER}.graders.*"
_URL = "`url` must begin with https://"
_VALIDATION = {"configMap": {"name": "gsm8k", "key": "validation.jsonl"}}


def reinforced(grader: Any) -> Manifest:
    """A hosted job of reinforcement."""
    method = {"type": "Reinforcement", "reinforcement": {"grader": grader}}
    return changed(HOSTED, {"spec.method": method, "spec.data.validation": _VALIDATION})


def _methods() -> Iterator[RuleRow]:
    yield from creates(
        _METHOD,
        "`dpo` goes with `type: DPO` only",
        allowed={
            "settings of DPO": hosted_with(_METHOD, {"type": "DPO", "dpo": {"beta": "0.1"}}),
            "DPO without settings": hosted_with(_METHOD, {"type": "DPO"}),
        },
        refused={"settings of another method": hosted_with(_METHOD, {"dpo": {}})},
    )
    yield from creates(
        _METHOD,
        "`type: Reinforcement` and `reinforcement` go together, with its `grader`",
        allowed={"both": reinforced(a_check()), "neither": HOSTED},
        refused={
            "no grader": hosted_with(_METHOD, {"type": "Reinforcement"}),
            "a grader for another method": changed(
                reinforced(a_check()), {"spec.method.type": "DPO"}
            ),
        },
    )
    yield from creates(
        f"{_METHOD}.dpo",
        "`beta` must be above 0 and at most 2",
        allowed={
            "the most": hosted_with(_METHOD, {"type": "DPO", "dpo": {"beta": "2"}}),
            "the service's": hosted_with(_METHOD, {"type": "DPO", "dpo": {"l2Multiplier": "0.1"}}),
        },
        refused={"more": hosted_with(_METHOD, {"type": "DPO", "dpo": {"beta": "2.01"}})},
    )


def _backends() -> Iterator[RuleRow]:
    yield from creates(
        "spec",
        "`method.type` of a job in the cluster must be Supervised: DPO and Reinforcement"
        " are for `azureOpenAI` jobs so far",
        allowed={
            "supervised in the cluster": PODS,
            "DPO at the service": hosted_with(_METHOD, {"type": "DPO"}),
        },
        refused={
            "DPO in the cluster": pods_with(_METHOD, {"type": "DPO"}),
            "reinforcement in the cluster": pods_with(
                _METHOD, {"type": "Reinforcement", "reinforcement": {"grader": a_check()}}
            ),
        },
    )
    yield from creates(
        "spec",
        "a hosted job with `method.type: Reinforcement` needs `data.validation`",
        allowed={"with validation data": reinforced(a_check()), "another method": HOSTED},
        refused={
            "without": changed(reinforced(a_check()), {"spec.data.validation": ABSENT}),
        },
    )


def _graders() -> Iterator[RuleRow]:
    for grader in singles():
        yield from _kind(grader, _GRADER, reinforced)
        yield from _kind(grader, _PART, lambda part: reinforced(a_multi("a", a=part)))
    yield from _kind(a_multi("a", a=a_check()), _GRADER, reinforced)
    for at, wrapped in (
        (_GRADER, reinforced),
        (_PART, lambda part: reinforced(a_multi("a", a=part))),
    ):
        endpoint = {"type": "endpoint", "name": "theirs"}
        yield from creates(
            f"{at}.url",
            _URL,
            allowed={"https": wrapped(endpoint | {"url": "https://grade.example"})},
            refused={"http": wrapped(endpoint | {"url": "http://grade.example"})},
        )


def _kind(grader: Manifest, at: str, wrapped: Any) -> Iterator[RuleRow]:
    """What a kind needs besides `input`, which the API server cannot see, and what it takes."""
    kind = GraderType(grader["type"])
    own = [name for name in grader if name not in ("type", "name", "input", "range")]
    alien = {"image_tag": "1"} if kind != GraderType.PYTHON else {"rate_limit": 1}
    if kind == GraderType.MULTI:
        alien = {"source": "x"}
    yield from creates(
        at,
        needs(kind),
        allowed={f"a {kind} grader": wrapped(grader)},
        refused={f"a {kind} grader without {own[-1]}": wrapped(_without(grader, own[-1]))},
    )
    yield from creates(
        at,
        takes(kind),
        allowed={f"a {kind} grader": wrapped(grader)},
        refused={f"a {kind} grader with {next(iter(alien))}": wrapped(grader | alien)},
    )


def _without(grader: Manifest, name: str) -> Manifest:
    return {key: value for key, value in grader.items() if key != name}


def rows() -> list[RuleRow]:
    """Every row."""
    return [*_methods(), *_backends(), *_graders()]
