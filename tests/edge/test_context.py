"""What a visitor's handshake meets: versions, ciphers, a certificate; and where the key is meanwhile."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from edgeproxy.edge import tickets
from edgeproxy.edge.context import server_context
from edgeproxy.errors import MapError
from tests import hellos
from tests.certificates import self_signed
from tests.descriptors import descriptors
from tests.edge.fakemap import leaf, presented

NAME = "shop.example.com"
V1_2, V1_3 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


def made(*, minimum: ssl.TLSVersion = V1_2, kind: str = "p256", protocols: tuple[str, ...] = ("http/1.1",)) -> ssl.SSLContext:
    chain, key = self_signed(NAME, kind=kind)
    return server_context(chain, key, list(protocols), minimum, "the certificate")


@pytest.mark.parametrize("kind", ["p256", "rsa2048"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_the_certificate_is_presented_over_either_version(kind: str, version: str) -> None:
    visitor = presented(made(kind=kind), NAME, version=version.replace(".", "_"))
    assert visitor.version() == version
    assert visitor.getpeercert(binary_form=True) == leaf(NAME, kind=kind)


def test_versions_and_ciphers_are_modern_ones() -> None:
    context = made()
    assert presented(context, NAME).version() == "TLSv1.3"
    assert context.minimum_version == V1_2
    for cipher in context.get_ciphers():
        assert cipher["protocol"] == "TLSv1.3" or (cipher["name"].startswith("ECDHE-") and cipher["aead"])
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.num_tickets == 1


def test_a_visitor_below_the_lowest_version_is_refused() -> None:
    with pytest.raises(ssl.SSLError):
        presented(made(minimum=V1_3), NAME, version="TLSv1_2")


def test_of_the_visitors_protocols_the_first_of_ours_is_agreed_on() -> None:
    context = made(protocols=("h2", "http/1.1"))
    assert presented(context, NAME, alpn=("http/1.1", "h2")).selected_alpn_protocol() == "h2"
    assert presented(context, NAME, alpn=("http/1.1",)).selected_alpn_protocol() == "http/1.1"
    assert presented(context, NAME).selected_alpn_protocol() is None


@pytest.mark.parametrize(
    "first", ["ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"]
)
def test_the_clients_order_of_ciphers_counts(first: str) -> None:
    context = made()
    visitor = hellos.client_context()
    visitor.maximum_version = V1_2
    visitor.set_ciphers(f"{first}:ECDHE+AESGCM:ECDHE+CHACHA20")
    session, _ = tickets.handshake(context, visitor, None)
    assert session is not None
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here, there = visitor.wrap_bio(to_client, to_server), context.wrap_bio(to_server, to_client, server_side=True)
    for side in (here, there, here):
        with pytest.raises(ssl.SSLWantReadError):
            side.do_handshake()
    there.do_handshake()
    assert (there.cipher() or ("",))[0] == first


CHAIN, KEY = self_signed(NAME)
ENCRYPTED = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("chain", "key"),
    [(CHAIN, self_signed("other.example.com")[1]), (CHAIN, b""), (CHAIN, ENCRYPTED), (b"no PEM", KEY), (b"", KEY)],
    ids=["another's key", "no key", "encrypted key", "no PEM", "no chain"],
)
def test_what_cannot_be_loaded_is_told_with_what_to_do_and_without_the_key(chain: bytes, key: bytes) -> None:
    with pytest.raises(MapError) as caught:
        server_context(chain, key, ["h2"], V1_2, "certificate c1")
    fault = caught.value
    assert fault.detail.startswith("The private key or chain of certificate c1 can not be loaded: ")
    assert fault.detail.endswith(". Issue or upload it anew.")
    assert "PRIVATE" not in fault.detail
    assert (fault.code, fault.retryable) == ("certificate_unusable", False)


def test_no_descriptor_stays_open_and_no_key_in_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        made()
    with pytest.raises(MapError):
        server_context(b"", KEY, ["h2"], V1_2, "certificate c1")
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("left", [0, 1])
def test_without_a_descriptor_it_is_not_the_certificate_that_is_blamed(left: int) -> None:
    made()
    with descriptors(left), pytest.raises(MapError, match=r"Too many open files.*LimitNOFILE") as caught:
        made()
    assert caught.value.retryable
