"""Why nothing came back from somebody else's server, in a few words. Pure."""

from __future__ import annotations

import socket
import ssl


def reason(error: BaseException) -> str:
    """What was behind an HTTP client's error: its own words are "all connection attempts failed"."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, BaseExceptionGroup):  # an attempt at each address
            seen = seen.exceptions[0]
        if isinstance(seen, ssl.SSLCertVerificationError):
            return f"its TLS certificate is not trusted ({seen.verify_message})"
        if isinstance(seen, socket.gaierror):
            return f"its name cannot be looked up ({(seen.strerror or str(seen)).lower()})"
        if isinstance(seen, ConnectionRefusedError):
            return "connection refused"
        seen = seen.__cause__ or seen.__context__
    return str(error)[:200] or type(error).__name__
