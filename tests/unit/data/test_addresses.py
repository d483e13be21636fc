"""Which addresses a tenant's URL may reach, and that only checked ones are handed out."""

import socket

import pytest

from finetune_data.addresses import AddressPolicy, CheckedResolver, is_literal
from finetune_data.problems import SourceError
from support.fake_dns import FakeDns

CLUSTER = AddressPolicy.of(allowed=[], denied=["203.0.114.0/24", "2a00:1::/32"])


@pytest.mark.parametrize(
    ("address", "want"),
    [
        pytest.param("93.184.216.34", True, id="public"),
        pytest.param("2606:2800:220:1::1", True, id="public IPv6"),
        pytest.param("127.0.0.1", False, id="loopback"),
        pytest.param("127.255.255.254", False, id="loopback, the far end"),
        pytest.param("::1", False, id="loopback IPv6"),
        pytest.param("0.0.0.0", False, id="unspecified"),
        pytest.param("::", False, id="unspecified IPv6"),
        pytest.param("10.96.0.1", False, id="private: the API server's Service"),
        pytest.param("172.16.0.1", False, id="private, 172.16/12"),
        pytest.param("192.168.1.1", False, id="private, 192.168/16"),
        pytest.param("100.64.0.1", False, id="shared by carriers"),
        pytest.param("169.254.169.254", False, id="link-local: cloud metadata"),
        pytest.param("168.63.129.16", False, id="the host of an Azure virtual machine"),
        pytest.param("::127.0.0.1", False, id="loopback, compatible IPv6"),
        pytest.param("fe80::1", False, id="link-local IPv6"),
        pytest.param("fe80::1%eth0", False, id="link-local IPv6 with a zone"),
        pytest.param("fd00:ec2::254", False, id="unique-local: metadata over IPv6"),
        pytest.param("fec0::1", False, id="site-local"),
        pytest.param("224.0.0.1", False, id="multicast"),
        pytest.param("ff02::1", False, id="multicast IPv6"),
        pytest.param("ff0e::1", False, id="multicast IPv6 of global scope"),
        pytest.param("255.255.255.255", False, id="broadcast"),
        pytest.param("240.0.0.1", False, id="reserved"),
        pytest.param("192.0.2.1", False, id="documentation"),
        pytest.param("198.18.0.1", False, id="benchmarks"),
        pytest.param("::ffff:127.0.0.1", False, id="loopback mapped into IPv6"),
        pytest.param("::ffff:169.254.169.254", False, id="metadata mapped into IPv6"),
        pytest.param("::ffff:93.184.216.34", True, id="a public address mapped into IPv6"),
        pytest.param("64:ff9b::a9fe:a9fe", False, id="metadata through NAT64"),
        pytest.param("64:ff9b::5db8:d822", True, id="a public address through NAT64"),
        pytest.param("2002:7f00:1::1", False, id="loopback through 6to4"),
        pytest.param("203.0.114.7", False, id="the cluster's own range"),
        pytest.param("2a00:1::7", False, id="the cluster's own IPv6 range"),
        pytest.param("::ffff:203.0.114.7", False, id="the cluster's own range, mapped"),
    ],
)
def test_addresses(address: str, want: bool) -> None:
    assert CLUSTER.permits(address) is want


@pytest.mark.parametrize(
    ("address", "want"),
    [
        pytest.param("10.1.2.3", True, id="inside the exception"),
        pytest.param("10.1.3.3", False, id="beside it"),
        pytest.param("10.1.2.200", True, id="an exception within what is denied"),
        pytest.param("::ffff:10.1.2.3", True, id="the exception, mapped"),
        pytest.param("fd00:1::5", True, id="an exception of one address"),
        pytest.param("fd00:1::6", False, id="its neighbour"),
    ],
)
def test_exceptions(address: str, want: bool) -> None:
    policy = AddressPolicy.of(allowed=["10.1.2.0/24", "fd00:1::5"], denied=["10.0.0.0/8"])

    assert policy.permits(address) is want


@pytest.mark.parametrize(
    ("host", "want"),
    [
        pytest.param("10.0.0.1", True, id="IPv4"),
        pytest.param("::1", True, id="IPv6"),
        pytest.param("2130706433", False, id="a number: left to the resolver and the client"),
        pytest.param("data.test", False, id="a name"),
    ],
)
def test_literals(host: str, want: bool) -> None:
    assert is_literal(host) is want


async def test_a_name_with_one_forbidden_address_is_refused() -> None:
    dns = FakeDns({"mixed.test": [["93.184.216.34", "10.0.0.1"]]})
    resolver = CheckedResolver(dns, AddressPolicy())

    with pytest.raises(SourceError, match=r"mixed\.test is an address inside") as caught:
        await resolver.resolve("mixed.test", 443)

    assert not caught.value.transient


async def test_checked_addresses_are_handed_out() -> None:
    resolver = CheckedResolver(FakeDns({"data.test": [["93.184.216.34"]]}), AddressPolicy())

    found = await resolver.resolve("data.test", 443, socket.AF_UNSPEC)

    assert [result["host"] for result in found] == ["93.184.216.34"]
