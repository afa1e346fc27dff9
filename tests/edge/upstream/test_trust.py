"""The TLS contexts towards origins. Who shows whom what is tried with a real origin in test_dialing."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from edgeproxy.config.platform import Origin
from edgeproxy.edge.upstream.trust import origin_context
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
