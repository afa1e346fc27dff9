"""What the edge shows to the platform's origin, and expects of it: bad values are refused before anybody meets them."""

from __future__ import annotations

import base64
import ssl
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config.identity import faults, pin, show
from edgeproxy.config.load import load
from edgeproxy.config.platform import Origin
from edgeproxy.errors import ConfigError
from tests.certificates import self_signed

PIN = base64.b64encode(bytes(range(32))).decode()
CHAIN, KEY = (pem.decode() for pem in self_signed("edge.example.com"))
OTHER_KEY = self_signed("other.example.com")[1].decode()
WHOLE = Origin(url="https://app.example.com", client_certificate=CHAIN, client_key=KEY, pins=(PIN,))


def found(**changes: object) -> dict[str, str]:
    return {key: text for key, text, _ in faults(msgspec.structs.replace(WHOLE, **changes))}


@pytest.mark.parametrize("text", [PIN, f"sha256/{PIN}", f"sha256//{PIN}"])
def test_pins_are_read_as_people_have_them(text: str) -> None:
    assert pin(text) == PIN


@pytest.mark.parametrize("text", ["x", PIN[:-4], PIN + PIN, "ä" * 44, PIN.replace("A", " ")])
def test_what_is_no_pin_is_refused_with_how_to_make_one(text: str) -> None:
    with pytest.raises(ValueError, match="make one: openssl"):
        pin(text)


def test_what_fits_together_does() -> None:
    assert found() == {}
    assert list(faults(Origin())) == []


def test_what_does_not_fit_is_told() -> None:
    assert "needs both" in found(client_key="")["origin.client_key"]
    assert "needs both" in found(client_certificate="")["origin.client_certificate"]
    assert "not the key of" in found(client_key=OTHER_KEY)["origin.client_key"]
    with pytest.raises(ssl.SSLError):
        show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), CHAIN, OTHER_KEY)
    assert found(url="http://app.example.com").keys() == {"origin.client_certificate", "origin.pins"}


def configuration(folder: Path) -> Path:
    """With the pair in files."""
    (folder / "client.pem").write_text(CHAIN)
    (folder / "client.key").write_text(KEY)
    (folder / "client.key").chmod(0o600)
    path = folder / "edgeproxy.toml"
    path.write_text(
        'issuance.directory = "internal"\n[origin]\nurl = "https://app.example.com"\n'
        f'client_certificate = "file:{folder}/client.pem"\nclient_key = "file:{folder}/client.key"\n'
    )
    return path


def test_both_are_read_from_files(tmp_path: Path) -> None:
    origin = load(configuration(tmp_path), {}).origin
    assert origin.client_certificate == CHAIN.rstrip("\n")
    assert origin.client_key == KEY.rstrip("\n")
    assert "PRIVATE" not in repr(origin)


def test_a_key_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    (tmp_path / "client.key").chmod(0o644)
    with pytest.raises(ConfigError, match="everybody on this machine may read it"):
        load(path, {})


def test_files_that_hold_something_else_are_refused_and_never_quoted(tmp_path: Path) -> None:
    path = configuration(tmp_path)
    (tmp_path / "client.pem").write_text("secret")
    (tmp_path / "client.key").write_text("secret")
    with pytest.raises(ConfigError) as caught:
        load(path, {})
    assert "the chain in PEM" in caught.value.detail
    assert "PEM without a passphrase" in caught.value.detail
    assert "secret" not in caught.value.detail
