"""What endpoints of webhooks may say in the configuration."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from edgeproxy.config import document, webhooks
from edgeproxy.config.load import load
from edgeproxy.config.structs import Config
from edgeproxy.config.webhooks import CERTIFICATE_EVENTS, EVENTS, Endpoint, Webhooks, chosen, event_filter, secret_bytes
from edgeproxy.errors import ConfigError

SECRET = "whsec_" + base64.b64encode(b"k" * 24).decode()
PACKAGE = Path(__file__).parents[2] / "edgeproxy"


def test_every_event_of_certificates_that_is_told_can_be_chosen() -> None:
    told = {
        f"certificate.{name}"
        for path in (PACKAGE / "control").rglob("*.py")
        for what in re.findall(r"\bhappening\(([^,]*),", path.read_text())
        for name in re.findall(r'"([a-z_]+)"', what)
    }
    assert len(told) >= 8
    assert told <= set(CERTIFICATE_EVENTS)


@pytest.mark.parametrize("text", ["*", "domain.*", "certificate.*", *EVENTS])
def test_types_and_families_can_be_chosen(text: str) -> None:
    assert event_filter(text) == text


@pytest.mark.parametrize("text", ["domain", "domain.gone", "*.active", "domain.**", "certificates.*", "", "domain.active "])
def test_what_is_no_event_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no event; write"):
        event_filter(text)


def test_a_filter_chooses_types_and_families_and_none_chooses_all() -> None:
    assert chosen((), "domain.active")
    assert chosen(("*",), "domain.active")
    assert chosen(("domain.*",), "domain.active")
    assert chosen(("certificate.*", "domain.active"), "domain.active")
    assert not chosen(("certificate.*", "domain.active"), "domain.removed")


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_secret_is_the_base64_of_enough_bytes(size: int) -> None:
    assert secret_bytes("whsec_" + base64.b64encode(b"x" * size).decode()) == b"x" * size


@pytest.mark.parametrize(
    "text",
    [
        base64.b64encode(b"k" * 24).decode(),
        "whsec_",
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_!" + base64.b64encode(b"k" * 24).decode(),
        "whsec_" + "é" * 40,
    ],
)
def test_what_is_no_secret_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ValueError, match="not a secret of Standard Webhooks") as error:
        webhooks.secret(text)
    assert not text or text not in str(error.value) or text == "whsec_"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "edge.toml"
    path.write_text(f"[issuance]\ndirectory = 'internal'\n{text}")
    return path


def test_endpoints_are_tables_each_with_its_secret_in_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET + "\n")
    secret.chmod(0o600)
    path = written(
        tmp_path,
        f"""
        [webhooks]
        allow = ["10.0.0.0/8"]
        [[webhooks.endpoints]]
        url = "https://platform.example/hooks"
        secret = "file:{secret}"
        events = ["domain.*"]
        [[webhooks.endpoints]]
        url = "http://127.0.0.1:9000/"
        secret = "{SECRET}"
        label = "here"
        """,
    )
    config = load(path, {})
    assert config.webhooks == Webhooks(
        allow=("10.0.0.0/8",),
        endpoints=(
            Endpoint(url="https://platform.example/hooks", secret=SECRET, events=("domain.*",)),
            Endpoint(url="http://127.0.0.1:9000/", secret=SECRET, label="here"),
        ),
    )
    assert SECRET not in repr(config)


def test_endpoints_can_be_set_by_the_environment(tmp_path: Path) -> None:
    environ = {"EDGEPROXY_WEBHOOKS__ENDPOINTS": f'[{{url = "https://a.example/", secret = "{SECRET}"}}]'}
    assert load(written(tmp_path, ""), environ).webhooks.endpoints == (Endpoint(url="https://a.example/", secret=SECRET),)


def faults(tmp_path: Path, text: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        load(written(tmp_path, text), {})
    return error.value.detail.splitlines()


def test_each_fault_is_told_at_the_line_of_its_own_table(tmp_path: Path) -> None:
    found = faults(
        tmp_path,
        f"""[[webhooks.endpoints]]
url = "https://a.example/"
secret = "{SECRET}"
event = ["*"]
[[webhooks.endpoints]]
url = "ftp://b.example/"
secret = "whsec_short"
events = ["domain.*", "domain.gone"]
[[webhooks.endpoints]]
[[webhooks.endpoints]]
url = "https://a.example/"
secret = "{SECRET}"
""",
    )
    starts = [
        "edge.toml:6:",
        "edge.toml:8:",
        "edge.toml:9:",
        "edge.toml:10:",
        "edge.toml:11:",
        "edge.toml:11:",
        "edge.toml:13:",
    ]
    assert [line.removeprefix(f"{tmp_path}/")[: len(start)] for line, start in zip(found, starts, strict=True)] == starts
    assert "webhooks.endpoints.event: there is no such key; did you mean 'events'?" in found[0]
    assert "neither http nor https" in found[1]
    assert "whsec_short" not in found[2]
    assert "'domain.gone' is no event" in found[3]
    assert "has no url" in found[4]
    assert "has no secret" in found[5]
    assert "with this url already" in found[6]


def test_what_is_no_array_of_tables_is_refused(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, '[webhooks]\nendpoints = "https://a.example/"\n')
    assert "write [[webhooks.endpoints]]" in line


def test_too_many_endpoints_are_refused(tmp_path: Path) -> None:
    text = "".join(
        f'[[webhooks.endpoints]]\nurl = "https://a.example/{number}"\nsecret = "{SECRET}"\n'
        for number in range(webhooks.CONFIGURED + 1)
    )
    (line,) = faults(tmp_path, text)
    assert f"at most {webhooks.CONFIGURED}" in line


def test_the_effective_configuration_has_each_endpoint_and_no_secret(tmp_path: Path) -> None:
    endpoint = Endpoint(url="https://a.example/", secret=SECRET, label="a")
    shown = document.effective(Config(webhooks=Webhooks(endpoints=(endpoint, endpoint))))
    assert shown.count("[[webhooks.endpoints]]") == 2
    assert shown.count('label = "a"') == 2
    assert SECRET not in shown


def test_a_secret_that_everybody_may_read_is_refused(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(SECRET)
    secret.chmod(0o644)
    (line,) = faults(tmp_path, f'[[webhooks.endpoints]]\nurl = "https://a.example/"\nsecret = "file:{secret}"\n')
    assert "everybody on this machine may read it" in line
