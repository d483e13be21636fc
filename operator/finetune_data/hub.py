"""Downloads files from a Hugging Face hub with its own client.

HF_ENDPOINT, HF_TOKEN, SSL_CERT_FILE and HTTPS_PROXY come from the environment. Knows no rows and
no models.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
from huggingface_hub import (
    HfApi,
    get_hf_file_metadata,
    hf_hub_download,
    hf_hub_url,
    snapshot_download,
)
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils.tqdm import disable_progress_bars

from finetune_api.pods import HubSource
from finetune_data.problems import SourceError, check_size

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "additional_chat_templates/*",
    "config.json",
)
MODEL_FILES = (
    *TOKENIZER_FILES,
    "generation_config.json",
    "model*.safetensors",
    "model.safetensors.index.json",
    "tokenizer.model",
    "added_tokens.json",
    "vocab.*",
    "merges.txt",
)
"""Neither code nor pickles nor other frameworks' weights."""

METADATA_TIMEOUT_SECONDS = 30.0

_LATER = (408, 425, 429)


def download_file(source: HubSource, directory: Path, max_bytes: int) -> Path:
    """One file of a repository, below `directory`; SourceError if it is too large."""
    assert source.path is not None
    with _explained(source):
        size = get_hf_file_metadata(
            hf_hub_url(
                source.repo_id,
                source.path,
                repo_type=source.repo_type,
                revision=source.revision,
                endpoint=os.environ.get("HF_ENDPOINT"),
            ),
            timeout=METADATA_TIMEOUT_SECONDS,
        ).size
        check_size(_name(source), size or 0, max_bytes)
        return Path(
            hf_hub_download(
                source.repo_id,
                source.path,
                repo_type=source.repo_type,
                revision=source.revision,
                local_dir=directory,
                etag_timeout=METADATA_TIMEOUT_SECONDS,
                endpoint=os.environ.get("HF_ENDPOINT"),
            )
        )


def commit_of(source: HubSource) -> str:
    """The commit that the revision of a repository names now."""
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    with _explained(source):
        return str(
            api.repo_info(
                source.repo_id,
                repo_type=source.repo_type,
                revision=source.revision,
                timeout=METADATA_TIMEOUT_SECONDS,
            ).sha
        )


def download_model(source: HubSource, directory: Path, patterns: Sequence[str]) -> Path:
    """The files of a repository that match `patterns`, in `directory`."""
    with _explained(source):
        folder = snapshot_download(
            source.repo_id,
            repo_type=source.repo_type,
            revision=source.revision,
            local_dir=directory,
            allow_patterns=list(patterns),
            cache_dir=directory / ".cache",
            etag_timeout=METADATA_TIMEOUT_SECONDS,
            endpoint=os.environ.get("HF_ENDPOINT"),
        )
    return Path(folder)


@contextmanager
def _explained(source: HubSource) -> Iterator[None]:
    """Turns the client's errors into sentences; its own name addresses and suggest commands."""
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        with disable_progress_bars():  # pods log JSON lines
            yield
    except (LocalEntryNotFoundError, OfflineModeIsEnabled, httpx2.TransportError) as error:
        # The client says "not found locally" when it could not ask the hub at all.
        raise _unreachable(source, error) from error
    except HfHubHTTPError as error:
        raise _refused(source, error) from error
    except EntryNotFoundError as error:
        raise SourceError(_no_file(source), False) from error
    except HFValidationError as error:
        raise SourceError(f"hf://{source.repo_id} is no name of a repository", False) from error


def _unreachable(source: HubSource, error: Exception) -> SourceError:
    cause = error.__cause__
    if isinstance(cause, HfHubHTTPError):
        return _refused(source, cause)
    if "CERTIFICATE_VERIFY_FAILED" in f"{error} {cause}":
        return SourceError(
            "the certificate of the hub is not trusted; ask for its CA in the chart's"
            " fetch.caBundle",
            False,
        )
    return SourceError(
        f"the hub could not be reached for {_name(source)}; check the network and HF_ENDPOINT", True
    )


def _refused(source: HubSource, error: HfHubHTTPError) -> SourceError:
    status = error.response.status_code
    name = _name(source)
    token = (
        "check that HF_TOKEN belongs to an account with access"
        if os.environ.get("HF_TOKEN")
        else "`secretRef` can name a Secret with HF_TOKEN"
    )
    match error:
        case GatedRepoError():
            message = f"{name} is gated; accept its terms on the hub; {token}"
        case RepositoryNotFoundError():
            message = f"{name} does not exist or is private; check the name; {token}"
        case RevisionNotFoundError():
            message = f"{name} has no revision {source.revision}; name a branch, tag or commit"
        case EntryNotFoundError():
            message = _no_file(source)
        case _ if status in (401, 403):
            message = f"the hub refused access to {name} ({status}); {token}"
        case _:
            later = status in _LATER or status >= 500
            return SourceError(f"the hub answered {status} for {name}", later)
    return SourceError(message, False)


def _no_file(source: HubSource) -> str:
    return f"{_name(source)} has no file {source.path} at {source.revision}; check the path"


def _name(source: HubSource) -> str:
    return f"{source.repo_type} {source.repo_id}"
