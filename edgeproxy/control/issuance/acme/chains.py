"""Which of the chains that a CA offers for a certificate is served (RFC 8555 section 7.4.2). Pure."""

from __future__ import annotations

import re

from cryptography import x509
from cryptography.x509.oid import NameOID

ALTERNATES = 8
"""Further chains of one certificate that are looked at. Let's Encrypt has had two."""

_ALTERNATE = re.compile(r"<([^<>]+)>\s*(?:;[^,<]*)?;\s*rel=\"?alternate\"?", re.IGNORECASE)


def alternates(link: str) -> list[str]:
    """The URLs of further chains, by the Link fields of the answer with the first one."""
    return _ALTERNATE.findall(link)[:ALTERNATES]


def top_issuer(chain: bytes) -> str:
    """The common name of whoever issued the last certificate of a PEM chain: the root that clients have to know. Empty where
    it has none, or the chain cannot be read."""
    try:
        names = x509.load_pem_x509_certificates(chain)[-1].issuer.get_attributes_for_oid(NameOID.COMMON_NAME)
    except (ValueError, IndexError):
        return ""
    return str(names[0].value) if names else ""


def is_preferred(chain: bytes, wanted: str) -> bool:
    """Whether a chain leads to the root that the configuration names, upper and lower case alike."""
    return top_issuer(chain).casefold() == wanted.casefold()
