"""The TLS contexts towards origins. Who shows whom what is tried with a real origin in test_dialing."""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path

import pytest

from edgeproxy.config.platform import Origin
from edgeproxy.edge.upstream.trust import origin_context, what_broke
from tests.certificates import self_signed


@pytest.mark.parametrize("platform", [True, False])
def test_origins_are_verified_against_the_configured_roots(tmp_path: Path, platform: bool) -> None:
    chain, key = (pem.decode() for pem in self_signed("localhost"))
    (tmp_path / "root.pem").write_text(chain)
    origin = Origin(ca_bundle=str(tmp_path / "root.pem"), client_certificate=chain, client_key=key)
    context = origin_context(origin, platform=platform)
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.cert_store_stats()["x509"] == 1


@pytest.mark.parametrize(("shown", "said"), [(False, "certificate required"), (True, "unknown ca")])
def test_an_origin_that_refuses_our_certificate_is_told_as_such(tmp_path: Path, shown: bool, said: str) -> None:
    chain, key = (pem.decode() for pem in self_signed("localhost"))
    (tmp_path / "root.pem").write_text(chain)
    (tmp_path / "pair.pem").write_text(chain + key)
    other, its_key = (pem.decode() for pem in self_signed("edge")) if shown else ("", "")
    origin = Origin(ca_bundle=str(tmp_path / "root.pem"), client_certificate=other, client_key=its_key)
    strict = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(tmp_path / "root.pem"))
    strict.load_cert_chain(tmp_path / "pair.pem")
    strict.verify_mode = ssl.CERT_REQUIRED
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    edge = origin_context(origin, platform=True).wrap_bio(back, there, server_hostname="localhost")
    refuses = strict.wrap_bio(there, back, server_side=True)
    with contextlib.suppress(ssl.SSLWantReadError):
        edge.do_handshake()
    with contextlib.suppress(ssl.SSLWantReadError):
        refuses.do_handshake()
    edge.do_handshake()
    with pytest.raises(ssl.SSLCertVerificationError if shown else ssl.SSLError):
        refuses.do_handshake()
    with pytest.raises(ssl.SSLError) as caught:
        edge.read()
    assert what_broke(caught.value).startswith(f"it refused the edge's certificate: {said} (origin.client_certificate")


def test_what_else_breaks_a_connection_is_told_as_it_is() -> None:
    assert what_broke(ConnectionResetError(104, "Connection reset by peer")) == "[Errno 104] Connection reset by peer"
    alert = ssl.SSLError(1, "")
    alert.reason = "TLSV1_ALERT_INTERNAL_ERROR"
    assert what_broke(alert) == "it ended TLS: internal error"
