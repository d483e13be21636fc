"""How this machine reaches its package registry, as files for the build alone."""

import configparser
import io
import os
from pathlib import Path

_CERTIFICATES = "/run/certificates.pem"  # where the Dockerfile mounts them
_SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_PASSED_ON = ("index-url", "extra-index-url", "trusted-host", "timeout", "retries")


def pip_configuration() -> str:
    """A pip.conf that installs from the registry that this machine's pip installs from."""
    settings = _configured()
    for key in _PASSED_ON:
        if value := os.environ.get(f"PIP_{key.replace('-', '_').upper()}"):
            settings[key] = value
    wanted = configparser.RawConfigParser()
    wanted["global"] = {key: settings[key] for key in _PASSED_ON if key in settings}
    wanted["global"]["cert"] = _CERTIFICATES
    text = io.StringIO()
    wanted.write(text)
    return text.getvalue()


def certificates() -> Path:
    """The bundle of certificate authorities that this machine's pip trusts."""
    named = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    return Path(named or _configured().get("cert") or _SYSTEM_BUNDLE)


def _configured() -> dict[str, str]:
    parser = configparser.RawConfigParser()
    homes = (Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf")
    named = os.environ.get("PIP_CONFIG_FILE", os.devnull)
    parser.read([Path("/etc/pip.conf"), *homes, Path(named)])
    return dict(parser["global"]) if parser.has_section("global") else {}
