"""The certificate of the emulator and the hub, kept for as long as it serves.

A new one would restart both and the operator, which trusts its authority.
"""

import datetime
from pathlib import Path

from cryptography import x509

from support.certificates import ServerCertificate, make_server_certificate

_LEFT = datetime.timedelta(days=1)
"""What must be left of its two days: whoever deploys wants to work for a while."""


def server_certificate(folder: Path, *hosts: str) -> ServerCertificate:
    """The one in `folder` while it serves `hosts`, else a new one."""
    kept = ServerCertificate(
        ca=folder / "ca.crt", certificate=folder / "tls.crt", key=folder / "tls.key"
    )
    if kept.key.exists() and _serves(kept.certificate, hosts):
        return kept
    return make_server_certificate(folder, *hosts)


def _serves(path: Path, hosts: tuple[str, ...]) -> bool:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    left = certificate.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left > _LEFT and names.get_values_for_type(x509.DNSName) == list(hosts)
