"""Where plain HTTP sends a visitor: to the same host and path by https, or nowhere. Pure."""

from __future__ import annotations

import re

from edgeproxy.model import wire_hostname

_TARGET = re.compile(rb"/[\x21-\x22\x24-\x7e]*\Z").match


def redirect(host: str, target: bytes, *, known: bool, https_port: int) -> bytes | None:
    """The Location of a 308, or None where the answer is 404.

    `host` is the request's, normalised and without its port (`RequestHead.host`); `target` its target. `known`: https
    would answer for the host. `https_port` is what visitors use (`listen.public_https_port`).

    Never an open redirect: the host is one that this edge serves, it stands before a path that begins with a slash, and
    nothing of the target is decoded, joined or resolved. A target like "//elsewhere.example" is therefore a path of this host.
    An empty Host has made a redirect to another site elsewhere; here it is no hostname.
    """
    if not known or wire_hostname(host) != host or not _TARGET(target):
        return None
    port = b"" if https_port == 443 else b":%d" % https_port
    return b"".join((b"https://", host.encode("ascii"), port, target))
