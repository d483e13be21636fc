"""Authorities besides the system's: what is trusted afterwards."""

import os
import ssl
from pathlib import Path

import pytest

from finetune_data import trust
from support.certificates import make_server_certificate


def trusted() -> set[str]:
    """Serial numbers of what TLS trusts now."""
    return {str(each["serialNumber"]) for each in ssl.create_default_context().get_ca_certs()}


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's authorities: one."""
    file = make_server_certificate(tmp_path / "system", "system.test").ca
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return file


def test_others_are_trusted_besides_the_systems(system: Path, tmp_path: Path) -> None:
    before = trusted()
    trust.add(make_server_certificate(tmp_path / "other", "other.test").ca)
    assert len(before) == 1
    assert before < trusted()
    assert len(trusted()) == 2


def test_others_alone_where_the_system_has_none(
    system: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "nothing"))
    assert trusted() == set()
    trust.add(make_server_certificate(tmp_path / "other", "other.test").ca)
    assert len(trusted()) == 1


def test_nothing_changes_without_others(system: Path, tmp_path: Path) -> None:
    trust.add(tmp_path / "nothing")
    assert os.environ["SSL_CERT_FILE"] == str(system)
