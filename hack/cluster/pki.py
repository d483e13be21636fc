"""The cluster's certificate authority, the certificates it signs and the kubeconfigs.

Files that exist are kept: a restarted cluster trusts the clients it trusted before.
"""

import base64
import datetime
import ipaddress
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_VALID = datetime.timedelta(days=3650)
_SLACK = datetime.timedelta(hours=1)


@dataclass(frozen=True, kw_only=True)
class KeyPair:
    """Where a certificate and its key lie, as PEM."""

    certificate: Path
    key: Path


class Authority:
    """Signs for one cluster."""

    def __init__(self, folder: Path) -> None:
        """Load the authority kept in `folder`, or make a new one there."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.certificate = folder / "ca.crt"
        key = folder / "ca.key"
        if key.exists():
            loaded = serialization.load_pem_private_key(key.read_bytes(), None)
            assert isinstance(loaded, ec.EllipticCurvePrivateKey)
            self._key = loaded
            return
        _write_key(key, self._key)
        usage = x509.BasicConstraints(ca=True, path_length=0)
        builder = self._builder("finetune-cluster", ()).add_extension(usage, critical=True)
        self._sign(builder.public_key(self._key.public_key()), self.certificate)

    def issue(
        self, file: str, name: str, groups: tuple[str, ...] = (), addresses: tuple[str, ...] = ()
    ) -> KeyPair:
        """Certify the user or host `name` and write `file`.crt and `file`.key.

        Args:
            file: the files' name without its ending.
            name: the common name, which Kubernetes takes as the user.
            groups: the organizations, which Kubernetes takes as the user's groups.
            addresses: host names and IP addresses that a server answers under.
        """
        pair = KeyPair(certificate=self._folder / f"{file}.crt", key=self._folder / f"{file}.key")
        if pair.certificate.exists():
            return pair
        key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.ExtendedKeyUsage(
            [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        )
        builder = self._builder(name, groups).add_extension(usage, critical=False)
        if addresses:
            alternatives = x509.SubjectAlternativeName([_general_name(a) for a in addresses])
            builder = builder.add_extension(alternatives, critical=False)
        _write_key(pair.key, key)
        self._sign(builder.public_key(key.public_key()), pair.certificate)
        return pair

    def signing_key(self, file: str) -> Path:
        """A key for service account tokens: RSA, as the managed services use."""
        path = self._folder / f"{file}.key"
        if not path.exists():
            _write_key(path, rsa.generate_private_key(public_exponent=65537, key_size=2048))
        return path

    def kubeconfig(self, path: Path, server: str, client: KeyPair) -> Path:
        """Write a kubeconfig that reaches `server` as `client`, with nothing left outside it."""
        if path.exists():
            return path
        name = "finetune"
        cluster = {
            "server": server,
            "certificate-authority-data": _base64(self.certificate),
        }
        user = {
            "client-certificate-data": _base64(client.certificate),
            "client-key-data": _base64(client.key),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": name,
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "clusters": [{"name": name, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
        }
        path.touch(mode=0o600)
        path.write_text(yaml.safe_dump(config))
        return path

    def _builder(self, name: str, groups: tuple[str, ...]) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        attributes = [x509.NameAttribute(NameOID.COMMON_NAME, name)]
        attributes += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name(attributes))
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _SLACK)
            .not_valid_after(now + _VALID)
        )

    def _sign(self, builder: x509.CertificateBuilder, path: Path) -> None:
        issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "finetune-cluster")])
        signed = builder.issuer_name(issuer).sign(self._key, hashes.SHA256())
        path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))


def _write_key(path: Path, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    path.touch(mode=0o600)
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
