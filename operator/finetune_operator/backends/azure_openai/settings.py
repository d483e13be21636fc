"""What the chart decides about the hosted backend. Values only; durations are in seconds."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class HostedSettings:
    """The operator's settings, as far as the hosted backend needs them."""

    allowed_endpoints: tuple[str, ...] = ()
    """Addresses beyond the service's own that keys and tokens may be sent to."""
    token_scope: str | None = None
    """Overrides the scope that goes with the endpoint's host."""
    operator: str = "NAMESPACE:SERVICEACCOUNT"
    """Our own ServiceAccount, for sentences that ask to give us access."""
    authority_host: str = "login.microsoftonline.com"
    """Where tokens are exchanged."""
    ca_file: str | None = None
    """Certificates that endpoints and authority are checked against. Absent: the system's."""
    create_timeout: float = 5.0
    """A create is over after this long, connecting included: the fence counts on it."""
    request_timeout: float = 20.0
    poll_interval: float = 45.0
