"""Certificate authorities and server certificates, made and rotated in memory.

Half-way through a CA's life its successor is made and published beside it; only at three quarters
does the successor begin to sign. So whoever trusts a bundle can be served for at least a quarter of
a CA's life after it was copied. Knows neither where they are kept nor who uses them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CA_LIFE = timedelta(days=730)
SERVING_LIFE = timedelta(days=2)
_SKEW = timedelta(hours=1)
"""Certificates begin in the past, for pods whose clock is behind."""


@dataclass(frozen=True)
class Signer:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def certificate_pem(self) -> str:
        """The certificate in PEM."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    def key_pem(self) -> str:
        """The private key in PEM."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()

    def age(self, now: datetime) -> float:
        """How much of its life is over: 0 at the beginning, 1 at the end."""
        begin, end = self.certificate.not_valid_before_utc, self.certificate.not_valid_after_utc
        return (now - begin) / (end - begin)


@dataclass(frozen=True)
class Authorities:
    """The CA that signs, and its successor once there is one."""

    current: Signer
    following: Signer | None = None

    def bundle(self) -> str:
        """What clients trust, in PEM."""
        signers = [self.current, *([self.following] if self.following else [])]
        return "".join(signer.certificate_pem() for signer in signers)

    def rotated(self, now: datetime) -> "Authorities":
        """These, or those that should take their place at this time."""
        if self.current.age(now) >= 1:
            return Authorities(new_authority(now))
        if self.following is not None and self.current.age(now) >= 0.75:
            return Authorities(self.following)
        if self.following is None and self.current.age(now) >= 0.5:
            return Authorities(self.current, new_authority(now))
        return self


def load(data: dict[str, str]) -> Authorities:
    """The authorities that a Secret's decoded data holds; ValueError or KeyError if it does not."""
    following = None
    if "next.crt" in data:
        following = _signer(data["next.crt"], data["next.key"])
    return Authorities(_signer(data["ca.crt"], data["ca.key"]), following)


def dump(authorities: Authorities) -> dict[str, str]:
    """What a Secret has to keep."""
    data = {
        "ca.crt": authorities.current.certificate_pem(),
        "ca.key": authorities.current.key_pem(),
    }
    if authorities.following is not None:
        data["next.crt"] = authorities.following.certificate_pem()
        data["next.key"] = authorities.following.key_pem()
    return data


def _signer(certificate: str, key: str) -> Signer:
    private = serialization.load_pem_private_key(key.encode(), None)
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise ValueError("not an elliptic curve key")
    return Signer(x509.load_pem_x509_certificate(certificate.encode()), private)


def new_authority(now: datetime) -> Signer:
    """A new self-signed CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    # The serial tells two CAs of the same operator apart in a bundle.
    serial = x509.random_serial_number()
    name = _name(f"finetune-operator-progress-{serial % 0xFFFF:04x}")
    usage = x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=True,
        crl_sign=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = _builder(name, name, key, now, CA_LIFE, serial)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    return Signer(builder.sign(key, hashes.SHA256()), key)


def serving_certificate(authority: Signer, names: Sequence[str], now: datetime) -> Signer:
    """A short-lived server certificate for these DNS names."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _builder(
        _name(names[0][:64]),
        authority.certificate.subject,
        key,
        now,
        SERVING_LIFE,
        x509.random_serial_number(),
    )
    alternatives = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
    issuer = authority.key.public_key()
    builder = (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(alternatives, critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), critical=False)
    )
    return Signer(builder.sign(authority.key, hashes.SHA256()), key)


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    now: datetime,
    life: timedelta,
    serial: int,
) -> x509.CertificateBuilder:
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - _SKEW)
        .not_valid_after(now + life)
        .add_extension(identifier, critical=False)
    )
