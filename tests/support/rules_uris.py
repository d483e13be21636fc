"""The rules on URIs and paths: what is refused is told what it must look like, never a pattern."""

from collections.abc import Iterator

from support.builders_api import Manifest, changed
from support.rules_rows import HOSTED, PODS, RuleRow, creates

_IN_WORDS = "letters, digits, '.', '_' and '-', and no part of it begins with '.' or '-'"


def rows() -> Iterator[RuleRow]:
    """Every row of the rules on URIs and paths."""
    yield from _model_uris("spec.model.uri")
    for data_set in ("spec.data.training", "spec.data.validation"):
        yield from _data_uris(f"{data_set}.uri")
    yield from creates(
        "spec.output.volume.path",
        f"`path` must be a folder below the volume, such as team-a/orca: {_IN_WORDS}",
        allowed={path: _output(path) for path in ("orca", "team-a/orca.v2/", "_x")},
        refused={path: _output(path) for path in ("/orca", "../orca", "a/.b", "a//b", "a b")},
    )
    at = "spec.azureOpenAI.endpoint"
    yield from creates(
        at,
        "`endpoint` must be https://HOST of the account, such as"
        " https://my-account.openai.azure.com: no blanks, no `?`, `#` and `@`",
        allowed={
            url: changed(HOSTED, {at: url})
            for url in ("https://a.b", "https://a.b:8443/api/projects/c")
        },
        refused={
            url: changed(HOSTED, {at: url})
            for url in ("http://a.b/", "https://u@a.b", "https://a.b/?c=d", "https://a b")
        },
    )


def _output(path: str) -> Manifest:
    return changed(PODS, {"spec.output": {"volume": {"claimName": "models", "path": path}}})


def _each(at: str, uris: tuple[str, ...]) -> dict[str, Manifest]:
    return {uri: changed(PODS, {at.removesuffix(".uri"): {"uri": uri}}) for uri in uris}


def _model_uris(at: str) -> Iterator[RuleRow]:
    yield from creates(
        at,
        "the `uri` of a model must be hf://ORGANISATION/NAME or pvc://CLAIM/PATH",
        allowed=_each(at, ("hf://org/model", "pvc://models")),
        refused=_each(at, ("s3://bucket/model", "https://a.b/model", "org/model", "HF://o/m")),
    )
    yield from creates(
        at,
        "the hf:// `uri` of a model must be hf://ORGANISATION/NAME; a branch, tag or commit goes"
        " into `revision`",
        allowed=_each(at, ("hf://org/a.model_8-b", "pvc://models/llama")),
        refused=_each(at, ("hf://model", "hf://org/model/file", "hf://org/model@v1", "hf://")),
    )
    yield from creates(
        at,
        f"the pvc:// `uri` of a model must be pvc://CLAIM or pvc://CLAIM/PATH, where PATH has"
        f" {_IN_WORDS}",
        allowed=_each(at, ("pvc://models", "pvc://models/", "pvc://models/llama/8b/")),
        refused=_each(at, ("pvc://", "pvc://Models", "pvc://models/../etc", "pvc://m/-x")),
    )


def _data_uris(at: str) -> Iterator[RuleRow]:
    yield from creates(
        at,
        "the `uri` of data must be https://HOST/PATH, pvc://CLAIM/PATH"
        " or hf://datasets/ORGANISATION/NAME/PATH",
        allowed=_each(at, ("https://a.b/c", "pvc://d/x.jsonl", "hf://datasets/o/n/x.jsonl")),
        refused=_each(at, ("s3://bucket/x", "http://a.b/c", "az://a/c/x", "x.jsonl")),
    )
    yield from creates(
        at,
        "the hf:// `uri` of data must name a file, hf://datasets/ORGANISATION/NAME/PATH; a branch,"
        " tag or commit goes into `revision`",
        allowed=_each(at, ("hf://datasets/o/n/a/b.jsonl", "pvc://d/x")),
        refused=_each(at, ("hf://datasets/o/n", "hf://o/n/x.jsonl", "hf://datasets/o/n@v1/x")),
    )
    yield from creates(
        at,
        f"the pvc:// `uri` of data must name a file, pvc://CLAIM/PATH, where PATH has {_IN_WORDS}",
        allowed=_each(at, ("pvc://d/a/b.jsonl", "https://a.b/c")),
        refused=_each(at, ("pvc://d", "pvc://d/", "pvc://d/../x", "pvc://d/a b")),
    )
    yield from creates(
        at,
        "the https:// `uri` of data must have no user and no password before its host, where"
        " everybody would read them: use a signed address instead, whose query is not shown",
        allowed=_each(at, ("https://a.b/c@d", "https://a.b:8443?u=c@d", "https://a.b/c?sig=e@f")),
        refused=_each(at, ("https://u:p@a.b/c", "https://u@a.b", "https://u:p@a.b/c?sig=d")),
    )
    yield from creates(
        at,
        "the https:// `uri` of data must have no blanks and nothing but ASCII: write other"
        " characters as %XX",
        allowed=_each(at, ("https://a.b/c%20d?sig=e%2Bf&g=h", "pvc://d/x")),
        refused=_each(at, ("https://a.b/c d", "https://a.b/\u00e9", "https://")),
    )
