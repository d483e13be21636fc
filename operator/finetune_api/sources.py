"""Where models and data come from, and the objects of the namespace that a spec refers to.

Knows no backend and no method.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, StringConstraints

from finetune_api.schema import (
    ApiModel,
    Key,
    Name,
    Shape,
    Shaped,
    ShortText,
    cel,
    validations,
)


class SecretRef(ApiModel):
    """A Secret in the job's namespace whose keys the scheme of the URI fixes (hf: HF_TOKEN)."""

    name: Name
    """The name of the Secret."""


class SecretKeyRef(ApiModel):
    """One key of a Secret in the job's namespace."""

    name: Name
    """The name of the Secret."""
    key: Key
    """The key in it."""


class ConfigMapKeyRef(ApiModel):
    """One key of a ConfigMap in the job's namespace."""

    name: Name
    """The name of the ConfigMap."""
    key: Key
    """The key in it."""


_WORD = r"[A-Za-z0-9_][-A-Za-z0-9._]*"
PATH = rf"{_WORD}(/{_WORD})*/?"
"""A path below a volume or a repository: no segment starts with a dot, so none leads upwards."""
PATH_IN_WORDS = "letters, digits, '.', '_' and '-', and no part of it begins with '.' or '-'"
_CLAIM = r"pvc://[a-z0-9][-a-z0-9.]*"
_REVISION = "a branch, tag or commit goes into `revision`"
MODEL_URI = Shaped(
    Shape(
        pattern=r"(hf|pvc)://[^\n]*",
        message="the `uri` of a model must be hf://ORGANISATION/NAME or pvc://CLAIM/PATH",
    ),
    Shape(
        prefix="hf://",
        pattern=f"hf://{_WORD}/{_WORD}",
        message=f"the hf:// `uri` of a model must be hf://ORGANISATION/NAME; {_REVISION}",
    ),
    Shape(
        prefix="pvc://",
        pattern=f"{_CLAIM}(/({PATH})?)?",
        message="the pvc:// `uri` of a model must be pvc://CLAIM or pvc://CLAIM/PATH, where PATH"
        f" has {PATH_IN_WORDS}",
    ),
)
DATA_URI = Shaped(
    Shape(
        pattern=r"(hf|pvc|https)://[^\n]*",
        message="the `uri` of data must be https://HOST/PATH, pvc://CLAIM/PATH"
        " or hf://datasets/ORGANISATION/NAME/PATH",
    ),
    Shape(
        prefix="hf://",
        pattern=f"hf://datasets/{_WORD}/{_WORD}/{PATH}",
        message="the hf:// `uri` of data must name a file,"
        f" hf://datasets/ORGANISATION/NAME/PATH; {_REVISION}",
    ),
    Shape(
        prefix="pvc://",
        pattern=f"{_CLAIM}/{PATH}",
        message="the pvc:// `uri` of data must name a file, pvc://CLAIM/PATH, where PATH"
        f" has {PATH_IN_WORDS}",
    ),
    Shape(
        prefix="https://",
        pattern=r"https://[^/?#@]*([/?#][^\n]*)?",
        message="the https:// `uri` of data must have no user and no password before its host,"
        " where everybody would read them: use a signed address instead, whose query is not shown",
    ),
    Shape(
        prefix="https://",
        pattern="https://[!-~]+",
        message="the https:// `uri` of data must have no blanks and nothing but ASCII: write other"
        " characters as %XX",
    ),
)


class JobRef(ApiModel):
    """Another FineTuneJob of the namespace, and which of its models."""

    name: Name
    """Its name."""
    checkpoint: (
        Annotated[
            str,
            StringConstraints(max_length=24),
            Shaped(
                Shape(
                    pattern="Final|Best|step-[0-9]{1,15}",
                    message="`checkpoint` must be Final, Best (by validation loss) or a step that"
                    " was kept, such as step-120",
                )
            ),
        ]
        | None
    ) = None
    """Final, Best by validation loss, or a step that was kept, such as step-120. Absent: Final."""


_HUB_ONLY = (
    cel(
        "!has(self.revision) || (has(self.uri) && self.uri.startsWith('hf://'))",
        "`revision` goes with an hf:// `uri` only",
    ),
    cel(
        "!has(self.secretRef) || (has(self.uri) && self.uri.startsWith('hf://'))",
        "`secretRef` goes with an hf:// `uri` only",
    ),
)


class Model(ApiModel):
    """The model to start from: a name that the service knows, the place of its files, or a job."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "[has(self.name), has(self.uri), has(self.jobRef)].filter(set, set).size() == 1",
                "exactly one of `name` (hosted), `uri` (in the cluster) and `jobRef` must be set",
            ),
            *_HUB_ONLY,
        )
    )

    name: (
        Annotated[
            str,
            StringConstraints(max_length=253),
            Shaped(
                Shape(
                    pattern="[A-Za-z0-9][-A-Za-z0-9._:]*",
                    message="the `name` of a model must be as the service spells it, such as"
                    " gpt-4.1-mini-2025-04-14: letters, digits, '.', '_', ':' and '-'",
                )
            ),
        ]
        | None
    ) = None
    """Hosted: a base model or an earlier fine-tuned one, such as gpt-4.1-mini-2025-04-14."""
    uri: Annotated[str, StringConstraints(max_length=1024), MODEL_URI] | None = None
    """In the cluster: hf://ORGANISATION/NAME or pvc://CLAIM/PATH with the model's files."""
    job_ref: JobRef | None = None
    """Hosted: the result of another FineTuneJob, waited for."""
    revision: ShortText | None = None
    """hf:// only: a branch, tag or commit. Absent: main."""
    secret_ref: SecretRef | None = None
    """hf:// only: a Secret with the key HF_TOKEN."""


class DataSource(ApiModel):
    """One JSON Lines file: a key of a ConfigMap, or a URI."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                "has(self.configMap) != has(self.uri)",
                "exactly one of `configMap` and `uri` must be set",
            ),
            *_HUB_ONLY,
        )
    )

    config_map: ConfigMapKeyRef | None = None
    uri: Annotated[str, StringConstraints(max_length=2048), DATA_URI] | None = None
    """pvc://CLAIM/PATH, https://…, or hf://datasets/ORGANISATION/NAME/PATH."""
    revision: ShortText | None = None
    """hf:// only: a branch, tag or commit. Absent: main."""
    sha256: (
        Annotated[
            str,
            StringConstraints(max_length=64),
            Shaped(
                Shape(
                    pattern="[0-9a-f]{64}",
                    message="`sha256` must be 64 hexadecimal digits in lower case, as sha256sum"
                    " prints them",
                )
            ),
        ]
        | None
    ) = None
    """Refuse the file unless its content has this digest."""
    secret_ref: SecretRef | None = None
    """hf:// only: a Secret with the key HF_TOKEN."""


class ValidationSource(DataSource):
    """A file of its own, or a part of the training data."""

    model_config = ConfigDict(
        json_schema_extra=validations(
            cel(
                """(has(self.configMap) ? 1 : 0) + (has(self.uri) ? 1 : 0)
                + (has(self.split) ? 1 : 0) == 1""",
                "exactly one of `configMap`, `uri` and `split` must be set",
            ),
            cel(
                "!has(self.sha256) || !has(self.split)",
                "`sha256` goes with a file, not with `split`: give it to `data.training`",
            ),
            *_HUB_ONLY,
        )
    )

    split: (
        Annotated[
            str,
            StringConstraints(max_length=3),
            Shaped(
                Shape(
                    pattern="([1-9]|[1-4][0-9]|50)%",
                    message="`split` must be 1% to 50% in whole per cent, such as `5%`",
                )
            ),
        ]
        | None
    ) = None
    """Take this part of the training data, which is not trained on then.

    Content and `seed` choose the rows, not their order; equal rows stay together.
    """


class InvalidRows(StrEnum):
    """What becomes of a job whose data has rows that cannot be used."""

    FAIL = "Fail"
    DROP = "Drop"


class Data(ApiModel):
    """The rows to learn from and, better with, the rows to check against."""

    training: DataSource
    validation: ValidationSource | None = None
    invalid_rows: InvalidRows = InvalidRows.FAIL
    """Drop: leave out rows that cannot be used, as long as they are less than half."""
