"""Whom the edge believes to be an origin, and what it shows there."""

from __future__ import annotations

import ssl

from edgeproxy.config.identity import show
from edgeproxy.config.platform import Origin


def origin_context(origin: Origin, *, platform: bool) -> ssl.SSLContext:
    """For origins by https: verified against `ca_bundle` or the system's roots. `platform`: for `origin.url`, which is shown
    the edge's own certificate where it has one."""
    context = ssl.create_default_context(cafile=origin.ca_bundle or None)
    context.set_alpn_protocols(["http/1.1"])
    if platform and origin.client_certificate:
        show(context, origin.client_certificate, origin.client_key)
    return context
