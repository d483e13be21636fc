"""How this machine reaches package registries: what pip and apt were told, for builds and for uv.

Started as a program it prints pip's settings for uv, before anything is installed: standard
library only.
"""

import configparser
import io
import os
import shlex
import subprocess
from pathlib import Path

_CERTIFICATES = "/run/certificates.pem"  # where the Dockerfile mounts them
_SYSTEM_BUNDLE = "/etc/ssl/certs/ca-certificates.crt"
_PASSED_ON = (
    "index-url", "extra-index-url", "find-links", "trusted-host", "timeout", "retries",
)  # fmt: skip
_OF_UV = {"index-url": "UV_DEFAULT_INDEX", "find-links": "UV_FIND_LINKS"}


def pip_configuration() -> str:
    """A pip.conf that installs from the registry that this machine's pip installs from."""
    wanted = configparser.RawConfigParser()
    wanted["global"] = _settings() | {"cert": _CERTIFICATES}
    text = io.StringIO()
    wanted.write(text)
    return text.getvalue()


def uv_exports() -> str:
    """Shell lines that let uv install from there too; what is set for uv already stays."""
    settings = _settings()
    return "\n".join(
        f"export {name}={shlex.quote(settings[key])}"
        for key, name in _OF_UV.items()
        if key in settings and name not in os.environ
    )


def certificates() -> Path:
    """The bundle of certificate authorities that this machine's pip trusts."""
    named = os.environ.get("PIP_CERT") or os.environ.get("SSL_CERT_FILE")
    return Path(named or _configured().get("cert") or _SYSTEM_BUNDLE)


def apt_mirror(release: str) -> list[str]:
    """The mirror that apt takes this Debian release from; none if it takes it from nowhere."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI)"]
    wanted = ["Origin: Debian", f"Codename: {release}", "Component: main", "Created-By: Packages"]
    done = subprocess.run([*command, *wanted], capture_output=True, text=True, check=False)
    return done.stdout.split()[:1]


def _settings() -> dict[str, str]:
    """What pip is told about registries; the environment goes before its files."""
    settings = _configured()
    for key in _PASSED_ON:
        if value := os.environ.get(f"PIP_{key.replace('-', '_').upper()}"):
            settings[key] = value
    return {key: settings[key] for key in _PASSED_ON if key in settings}


def _configured() -> dict[str, str]:
    parser = configparser.RawConfigParser()
    homes = (Path.home() / ".pip/pip.conf", Path.home() / ".config/pip/pip.conf")
    named = os.environ.get("PIP_CONFIG_FILE", os.devnull)
    parser.read([Path("/etc/pip.conf"), *homes, Path(named)])
    return dict(parser["global"]) if parser.has_section("global") else {}


if __name__ == "__main__":
    print(uv_exports())
