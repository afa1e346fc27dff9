"""Which origins somebody else than the operator may name."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.config.monitoring import Metrics
from edgeproxy.config.platform import Origin, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Listen
from edgeproxy.control.issuance.origins import address_allowed, check_origin, name_allowed, resolve_origin
from edgeproxy.errors import InvalidName


def config(*allow, **sections) -> Config:
    return Config(origin=Origin(allow=allow), **sections)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://origin.example", "http://origin.example"),
        ("https://Origin.Example.:8443/", "https://origin.example:8443"),
        ("http://8.8.8.8:3000", "http://8.8.8.8:3000"),
        ("https://[2606:4700::1111]:8443", "https://[2606:4700::1111]:8443"),
    ],
)
def test_public_origins_pass_and_are_normalised(url, expected):
    assert check_origin(url, config()) == expected


@pytest.mark.parametrize(
    "url",
    [
        "unix:/run/edgeproxy/admin.sock",
        "file:///etc/passwd",
        "http://user:secret@origin.example",
        "http://origin.example/path",
        "http://origin.example?x",
        "http://origin.example#x",
        "http://origin example",
        "ftp://origin.example",
        "http://",
        "http://origin.example:0",
        "http://origin.example:99999",
        "http://origin.example:1x",
        "http://[::1",
        "http://single",
        "http://localhost:3000",
        "http://db.internal",
        "http://printer.local",
        "http://127.0.0.1:3000",
        "http://10.1.2.3",
        "http://192.168.0.1",
        "http://169.254.169.254",
        "http://100.64.0.1",
        "http://0.0.0.0",
        "http://224.0.0.1",
        "http://[::1]:80",
        "http://[fe80::1]",
        "http://[fd00::1]",
        "http://[::ffff:127.0.0.1]",
        "http://[::ffff:10.0.0.1]",
        "http://[64:ff9b::7f00:1]",
        "http://[2002:7f00:1::]",
        "http://2130706433",
        "http://0x7f.1",
        "http://127.1",
        "http://a\n.example",
    ],
)
def test_what_leads_inside_or_is_not_an_origin_is_refused(url):
    with pytest.raises(InvalidName):
        check_origin(url, config())


def test_the_allow_list_admits_networks_and_names():
    settings = config("10.0.0.0/8", "fd00::/8", "db.internal", "*.svc.internal")
    assert check_origin("http://10.1.2.3:80", settings) == "http://10.1.2.3:80"
    assert check_origin("http://[fd00::5]:80", settings) == "http://[fd00::5]:80"
    assert check_origin("http://db.internal:80", settings) == "http://db.internal:80"
    assert check_origin("http://a.svc.internal", settings) == "http://a.svc.internal"
    assert name_allowed("a.svc.internal", settings)
    assert not name_allowed("other.internal", settings)
    with pytest.raises(InvalidName):
        check_origin("http://192.168.0.1", settings)


def test_our_own_listeners_are_never_origins_even_where_their_address_is_allowed():
    settings = config(
        "127.0.0.0/8",
        "203.0.113.7/32",
        listen=Listen(https=("0.0.0.0:443",), http=("127.0.0.1:8080",)),
        platform=Platform(addresses=("203.0.113.7",)),
        metrics=Metrics(listen="127.0.0.1:9180"),
    )
    for url in ("https://127.0.0.1", "http://127.0.0.1:8080", "http://127.0.0.1:9180", "https://203.0.113.7"):
        with pytest.raises(InvalidName, match="itself"):
            check_origin(url, settings)
    assert check_origin("http://127.0.0.1:3000", settings) == "http://127.0.0.1:3000"


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_an_address_that_passes_is_public_in_every_spelling(address):
    shown = f"[{address}]" if address.version == 6 else str(address)
    try:
        passed = check_origin(f"http://{shown}:3000", config())
    except InvalidName:
        return
    assert address.is_global
    assert passed == f"http://{shown}:3000"


@given(st.text(max_size=80) | st.from_regex(r"https?://[a-zA-Z0-9.:\[\]_-]{1,40}/?", fullmatch=True))
def test_whatever_is_written_passes_normalised_or_is_refused(text):
    try:
        passed = check_origin(text, config())
    except InvalidName:
        return
    assert check_origin(passed, config()) == passed


def test_documentation_and_shared_addresses_are_not_public():
    assert not address_allowed(ipaddress.ip_address("192.0.2.1"), config())
    assert address_allowed(ipaddress.ip_address("192.0.2.1"), config("192.0.2.0/24"))


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("fec0::1", False),
        ("::127.0.0.1", False),
        ("::ffff:10.0.0.1", False),
        ("64:ff9b::a00:1", False),
        ("2002:a00:1::", False),
        ("64:ff9b::808:808", True),
        ("2001:4860:4860::8888", True),
    ],
)
def test_ipv6_that_leads_inside_is_not_public(address, public):
    assert address_allowed(ipaddress.ip_address(address), config()) is public


async def test_a_name_that_points_inside_is_refused(monkeypatch):
    answers = {"inside.example": "10.0.0.1", "outside.example": "8.8.8.8"}
    import asyncio

    async def getaddrinfo(host, port, **_options):
        if host not in answers:
            raise OSError("no such host")
        return [(2, 1, 6, "", (answers[host], port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    with pytest.raises(InvalidName, match=r"points at 10\.0\.0\.1"):
        await resolve_origin("http://inside.example:80", config())
    await resolve_origin("http://inside.example:80", config("10.0.0.0/8"))
    await resolve_origin("http://inside.example:80", config("inside.example"))
    await resolve_origin("http://outside.example", config())
    await resolve_origin("http://unknown.example", config())
    await resolve_origin("http://8.8.8.8", config())
