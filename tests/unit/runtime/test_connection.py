import os
import ssl
from pathlib import Path

import pytest
import yaml

from finetune_operator.adapters.connection import BearerToken, NoConnection, find_connection
from support.certificates import make_server_certificate


def kubeconfig(folder: Path, user: dict[str, object], **cluster: object) -> dict[str, str]:
    config = {
        "current-context": "c",
        "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}],
        "clusters": [{"name": "k", "cluster": {"server": "https://k.example:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(config))
    return {"KUBECONFIG": str(path)}


def test_a_token_and_the_server(tmp_path: Path) -> None:
    connection = find_connection(kubeconfig(tmp_path, {"token": "abc"}))

    assert connection.server == "https://k.example:6443"
    assert connection.token.header() == "Bearer abc"
    assert connection.tls.verify_mode == ssl.CERT_REQUIRED


def test_a_client_certificate_needs_no_token(tmp_path: Path) -> None:
    pair = make_server_certificate(tmp_path, "client")
    user = {"client-certificate": str(pair.certificate), "client-key": str(pair.key)}

    connection = find_connection(
        kubeconfig(tmp_path, user, **{"certificate-authority": str(pair.ca)})
    )

    assert connection.token.header() is None
    assert len(connection.tls.get_ca_certs()) >= 1


@pytest.mark.parametrize(
    ("user", "want"),
    [
        pytest.param({"exec": {"command": "aws"}}, "use a token", id="a program to be run"),
        pytest.param({"auth-provider": {}}, "use a token", id="an old plugin"),
    ],
)
def test_what_needs_a_program_is_refused(
    tmp_path: Path, user: dict[str, object], want: str
) -> None:
    with pytest.raises(NoConnection, match=want):
        find_connection(kubeconfig(tmp_path, user))


def test_no_api_server_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))

    with pytest.raises(NoConnection, match="set KUBECONFIG"):
        find_connection({})


def test_a_token_that_was_replaced_on_disk_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("old\n")
    token = BearerToken(file=file)
    assert token.header() == "Bearer old"

    file.write_text("new\n")
    assert token.header() == "Bearer old", "not on every request"
    token._read_at -= 61

    assert token.header() == "Bearer new"
    os.unlink(file)
