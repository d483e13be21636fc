"""The operator's own settings, read once from FINETUNE_* variables, which the chart sets.

Knows no object of the cluster; the settings of one job are in its spec.
"""

import re
import ssl
from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Json,
    ValidationError,
    field_validator,
    model_validator,
)

from finetune_api.backends import (
    EnvVar,
    LabelKey,
    LabelValue,
    TaintEffect,
    Toleration,
    TolerationOperator,
)

PREFIX = "FINETUNE_"

_AUTHORITIES_BYTES = 100 * 1024
"""Two such files and a config fit into the 256 KiB that annotations may hold."""

Seconds = Annotated[float, Field(gt=0)]


_SET_BY_US = frozenset(
    {
        *("HOME", "HF_ENDPOINT", "HF_TOKEN", "TERMINATION_LOG"),
        *("API_KEY_FILE", "AZURE_TOKEN_FILE", "AZURE_CA_FILE", "FETCH_CA_FILE"),
    }
)
"""Variables that tell a prepare pod where it finds what."""
_ADDRESS = re.compile(r"https://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(:[0-9]{1,5})?", re.IGNORECASE)


class InvalidSettings(Exception):
    """An environment variable has a value that cannot be used; the message names it."""


def _split(value: Any) -> Any:
    return (
        [part for part in re.split(r"[,\s]+", value) if part] if isinstance(value, str) else value
    )


Words = Annotated[tuple[str, ...], BeforeValidator(_split)]
"""Separated by commas or white space."""


class Settings(BaseModel):
    """One flat list; the variable of `stalled_after_seconds` is FINETUNE_STALLED_AFTER_SECONDS."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    # What is served
    namespaces: Words = ()
    """Namespaces to serve; empty: the whole cluster."""
    workers: Annotated[int, Field(ge=1, le=256)] = 16
    """FineTuneJobs worked on at the same time; also limits connections to the API server."""
    api_timeout_seconds: Seconds = 30
    """Longest wait for one answer of the API server."""
    relist_seconds: Seconds = 600
    """How often everything is listed anew, whatever the watches said."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    # Who we are
    pod_name: str = ""
    """Our own pod; empty: we do not run as a pod, and no pod is labelled as the leader."""
    pod_namespace: str = "default"
    """Our own namespace: the Lease and the progress endpoint's CA live here."""
    pod_service_account: str = "finetune-operator"
    """Our own ServiceAccount, for sentences that ask to give us access to something."""

    # Leadership
    lease_name: str = "finetune-operator"
    lease_duration_seconds: Seconds = 10
    """A standby takes over this long after the leader's last renewal."""
    lease_renew_deadline_seconds: Seconds = 7
    """The leader ends itself if it could not renew for so long."""
    lease_retry_seconds: Seconds = 2
    """Time between renewals, and between a standby's looks."""

    # Timing of jobs
    stalled_after_seconds: Seconds = 300
    """A wait for the user becomes Stalled after this."""
    deletion_grace_seconds: Seconds = 600
    """How long a deletion waits for a hosted service that cannot be reached."""
    progress_interval_seconds: Seconds = 15
    """Progress is written to status at most this often."""

    # Pods
    prepare_image: str = "finetune-operator"
    trainer_image: str = "finetune-trainer"
    prepare_node_selector: Json[dict[LabelKey, LabelValue]] = {}
    """JSON: labels that the nodes of prepare pods must have."""
    prepare_tolerations: Json[tuple[Toleration, ...]] = ()
    """JSON: taints of nodes that prepare pods may run on nevertheless."""
    prepare_env: Json[tuple[EnvVar, ...]] = ()
    """JSON: further variables of prepare pods, such as HTTPS_PROXY and NO_PROXY."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"
    image_pull_secrets: Words = ()
    """Secrets, in each job's own namespace, to pull our images with."""
    output_storage: str = "10Gi"
    """Size of the claim that a job gets which names none."""
    output_storage_class: str = ""
    """StorageClass of that claim; empty: the cluster's default."""
    hf_endpoint: str = ""
    """Another Hugging Face hub than the public one."""
    fetch_allowed_ranges: Words = ()
    """CIDR ranges that https:// data may come from although they are private."""
    fetch_denied_ranges: Words = ()
    """The cluster's own CIDR ranges, refused for https:// data."""
    fetch_ca_file: str = ""
    """PEM file of certificate authorities that pods trust besides public ones, for their data."""

    # Azure OpenAI
    azure_allowed_endpoints: Words = ()
    """Addresses https://HOST[:PORT], besides Azure's own, that may be sent a key or a token."""
    azure_ca_file: str = ""
    """PEM file of certificate authorities trusted besides the public ones."""
    azure_authority_host: str = ""
    """Where tokens are exchanged, if not at Microsoft Entra ID."""
    azure_token_scope: str = ""
    """Scope of the tokens asked for, if not Azure's own."""
    azure_create_timeout_seconds: Seconds = 5
    """Longest wait for the answer to the creation of a hosted job; must be shorter than a lease."""
    azure_request_timeout_seconds: Seconds = 20
    """Longest wait for any other answer of the hosted service."""
    azure_list_lag_seconds: Seconds = 60
    """How long a job just created may be missing from the list; to pay once rests on it."""
    azure_poll_seconds: Seconds = 45
    """How often an endpoint's hosted jobs are looked at."""

    # Servers
    health_host: str = "0.0.0.0"
    health_port: Annotated[int, Field(ge=0, le=65535)] = 8080
    """/livez, /readyz and /metrics."""
    progress_host: str = "0.0.0.0"
    progress_port: Annotated[int, Field(ge=0, le=65535)] = 8443
    """Where pods' reports are received."""
    progress_service: str = ""
    """The host name of the Service in front of `progress_port`; empty: pods do not report."""
    progress_service_port: Annotated[int, Field(ge=1, le=65535)] = 443
    progress_secret: str = "finetune-operator-progress-ca"
    """Name of the Secret, in our own namespace, that keeps the progress endpoint's CA."""

    @model_validator(mode="after")
    def _fences_hold(self) -> Self:
        """What the leader does must fit into its lease, or it never leads or never submits."""
        if self.lease_renew_deadline_seconds >= self.lease_duration_seconds:
            raise ValueError(
                "lease_renew_deadline_seconds must be shorter than"
                " lease_duration_seconds: a leader must end before another one begins"
            )
        if 2 * self.lease_retry_seconds > self.lease_renew_deadline_seconds:
            raise ValueError(
                "lease_retry_seconds must be at most half of"
                " lease_renew_deadline_seconds: a leader must be able to renew in time"
            )
        if (
            self.azure_create_timeout_seconds + self.lease_retry_seconds
            >= self.lease_duration_seconds
        ):
            raise ValueError(
                "azure_create_timeout_seconds and lease_retry_seconds together must be"
                " shorter than lease_duration_seconds: a hosted job is created only while the"
                " lease outlasts the request"
            )
        return self

    @field_validator("fetch_allowed_ranges", "fetch_denied_ranges")
    @classmethod
    def _ranges(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            try:
                ip_network(entry, strict=False)
            except ValueError:
                raise ValueError(f"`{entry}` must be a CIDR range such as 10.20.0.0/16") from None
        return entries

    @field_validator("prepare_env")
    @classmethod
    def _variables(cls, entries: tuple[EnvVar, ...]) -> tuple[EnvVar, ...]:
        for entry in entries:
            if entry.name in _SET_BY_US:
                raise ValueError(f"{entry.name} is set by the operator itself: remove it")
        return entries

    @field_validator("prepare_tolerations")
    @classmethod
    def _tolerations(cls, entries: tuple[Toleration, ...]) -> tuple[Toleration, ...]:
        """As the API server has them: it would refuse the prepare pod of every job."""
        for entry in entries:
            exists = entry.operator is TolerationOperator.EXISTS
            if entry.key is None and not exists:
                raise ValueError("a toleration without a `key` must have `operator: Exists`")
            if entry.value and exists:
                raise ValueError("a toleration with `operator: Exists` must have no `value`")
            if entry.toleration_seconds is not None and entry.effect is not TaintEffect.NO_EXECUTE:
                raise ValueError("`tolerationSeconds` goes with `effect: NoExecute` only")
        return entries

    @field_validator("azure_allowed_endpoints")
    @classmethod
    def _addresses(cls, entries: tuple[str, ...]) -> tuple[str, ...]:
        for entry in entries:
            if not _ADDRESS.fullmatch(entry):
                raise ValueError(
                    f"`{entry}` must be an address https://HOST[:PORT] without a path,"
                    " such as https://gateway.example.com"
                )
        return entries

    def require_files(self) -> None:
        """See to it that pods can be given what files hold.

        Raises:
            InvalidSettings: a file is missing, or too large for a pod's annotations.
        """
        for name in ("azure_ca_file", "fetch_ca_file"):
            file, variable = str(self.model_dump()[name]), f"{PREFIX}{name.upper()}"
            if file and not Path(file).is_file():
                raise InvalidSettings(f"{variable}: there is no file {file}")
            if file and Path(file).stat().st_size > _AUTHORITIES_BYTES:
                raise InvalidSettings(
                    f"{variable}: {file} is larger than {_AUTHORITIES_BYTES // 1024} KiB: leave the"
                    " public authorities out, which are trusted anyway"
                )
            if file and not _holds_authorities(file):
                raise InvalidSettings(f"{variable}: {file} holds no certificates in PEM form")

    @property
    def account(self) -> str:
        """NAMESPACE:NAME of our own ServiceAccount, as kubectl takes it."""
        return f"{self.pod_namespace}:{self.pod_service_account}"

    @property
    def progress_url(self) -> str:
        """Where pods report their progress; empty if they cannot."""
        if not self.progress_service:
            return ""
        port = "" if self.progress_service_port == 443 else f":{self.progress_service_port}"
        return f"https://{self.progress_service}{port}"

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """The settings that FINETUNE_* variables give; an empty value means the default.

        Raises:
            InvalidSettings: a value cannot be used.
        """
        # Only known names: Kubernetes itself adds FINETUNE_OPERATOR_PORT and the like for Services.
        named = {name: f"{PREFIX}{name.upper()}" for name in cls.model_fields}
        given = {name: environ[env] for name, env in named.items() if environ.get(env)}
        try:
            return cls.model_validate(given)
        except ValidationError as e:
            problems = "; ".join(
                " ".join(
                    [
                        *(PREFIX + str(name).upper() for name in error["loc"][:1]),
                        _said(error["msg"]),
                    ]
                )
                for error in e.errors()
            )
            raise InvalidSettings(f"The operator's settings cannot be used: {problems}") from None


def _holds_authorities(file: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError:
        return False
    return True


def _said(message: str) -> str:
    return message.removeprefix("Value error, ").replace("Input should be", "must be", 1)
