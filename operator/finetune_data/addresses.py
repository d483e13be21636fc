"""Decides which hosts and IP addresses a tenant's URL may reach.

Pure but for the resolver at the end, which hands out checked addresses only, so that what was
checked is what is connected to. Knows no HTTP.
"""

import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from aiohttp.abc import AbstractResolver, ResolveResult

from finetune_data.problems import SourceError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")
_CLUSTER_DOMAINS = (".svc", ".cluster.local")
_AZURE_PLATFORM = IPv4Address("168.63.129.16")
"""Public by its number, but it is the host of the virtual machine that answers there."""


@dataclass(frozen=True, kw_only=True)
class AddressPolicy:
    """Public addresses may be reached; `denied` ones never, `allowed` ones although private.

    Names of the cluster's own lead to `allowed` addresses alone, and nothing to the API server.
    """

    allowed: tuple[Network, ...] = field(default_factory=tuple)
    denied: tuple[Network, ...] = field(default_factory=tuple)
    api_server: str = ""
    """Its host: an address, or a name."""

    @classmethod
    def of(
        cls, allowed: Iterable[str], denied: Iterable[str], api_server: str = ""
    ) -> "AddressPolicy":
        """From CIDR ranges."""
        return cls(
            allowed=tuple(ip_network(text, strict=False) for text in allowed),
            denied=tuple(ip_network(text, strict=False) for text in denied),
            api_server=api_server,
        )

    def permits(self, text: str, host: str = "") -> bool:
        """Whether an address, as text, may be connected to under the name `host`."""
        address = _unwrapped(ip_address(text))
        if str(address) == self.api_server:
            return False
        if any(address in network for network in self.allowed):
            return True
        if _is_clusters(host) or any(address in network for network in self.denied):
            return False
        return _is_public(address)

    def check(self, host: str, address: str) -> None:
        """SourceError if `host` must not be reached at `address`."""
        if not self.permits(address, host):
            raise _refused(host)

    def check_name(self, host: str) -> None:
        """SourceError if no address of `host` can be permitted: nobody is asked for one then."""
        if host == self.api_server or (_is_clusters(host) and not self.allowed):
            raise _refused(host)


def _is_clusters(host: str) -> bool:
    """Whether a name is of the cluster's own domain."""
    return host.rstrip(".").lower().endswith(_CLUSTER_DOMAINS)


def _refused(host: str) -> SourceError:
    return SourceError(
        f"{host} is an address inside the cluster or otherwise not public, which data may "
        "not come from; use a public host, or ask for the chart's fetch.allowedRanges",
        False,
    )


def _unwrapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for, if it does: connecting reaches that one."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(address.packed[-4:])
    return address.ipv4_mapped or address.sixtofour or address


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv6Address):
        return address in _GLOBAL_UNICAST and address.is_global
    return address.is_global and not address.is_multicast and address != _AZURE_PLATFORM


def is_literal(host: str) -> bool:
    """Whether a URL's host is an address in its usual form."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class CheckedResolver(AbstractResolver):
    """Resolves through another resolver and refuses a name with a forbidden address.

    One forbidden address refuses the name: mixed answers are how checks are got round.
    """

    def __init__(self, resolver: AbstractResolver, policy: AddressPolicy) -> None:
        self._resolver = resolver
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Addresses that were checked; SourceError if one of them is forbidden."""
        results = await self._resolver.resolve(host, port, family)
        for result in results:
            self._policy.check(host, result["host"])
        return results

    async def close(self) -> None:
        """Close the resolver behind."""
        await self._resolver.close()
