"""Whom the edge believes to be an origin, and what it shows there."""

from __future__ import annotations

import ssl

from edgeproxy.config.identity import show
from edgeproxy.config.platform import Origin

_OF_OUR_CERTIFICATE = frozenset(
    (
        "BAD_CERTIFICATE",
        "UNSUPPORTED_CERTIFICATE",
        "CERTIFICATE_REVOKED",
        "CERTIFICATE_EXPIRED",
        "CERTIFICATE_UNKNOWN",
        "UNKNOWN_CA",
        "ACCESS_DENIED",
        "CERTIFICATE_REQUIRED",
    )
)
"""Alerts by which who is connected to says what it thinks of the certificate that it was shown (RFC 8446 section 6.2)."""


def origin_context(origin: Origin, *, platform: bool) -> ssl.SSLContext:
    """For origins by https: verified against `ca_bundle` or the system's roots. `platform`: for `origin.url`, which is shown
    the edge's own certificate where it has one."""
    context = ssl.create_default_context(cafile=origin.ca_bundle or None)
    context.set_alpn_protocols(["http/1.1"])
    if platform and origin.client_certificate:
        show(context, origin.client_certificate, origin.client_key)
    return context


def what_broke(error: Exception) -> str:
    """Why a connection with an origin broke. In TLS 1.3 one that refuses our certificate says so behind the handshake only."""
    if not isinstance(error, ssl.SSLError):
        return str(error)
    reason = error.reason or ""
    _, _, alert = reason.partition("ALERT_")
    if not alert:
        return reason or error.strerror or str(error)
    words = alert.lower().replace("_", " ")
    if alert in _OF_OUR_CERTIFICATE:
        return f"it refused the edge's certificate: {words} (origin.client_certificate, which origin.url alone is shown)"
    return f"it ended TLS: {words}"
