"""What the whole program means by a hostname, a workspace and a domain's state. Pure."""

from __future__ import annotations

import enum
import ipaddress
import re
from typing import Literal

import idna

from edgeproxy.errors import InvalidName

WORKSPACE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_LDH_NAME = re.compile(r"(?=.{1,253}\Z)(?:(?!-)[a-z0-9_-]{1,63}(?<!-)\.)*(?!-)[a-z0-9-]{1,63}(?<!-)\Z")
_NUMERIC_LABEL = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)\Z")


class DomainState(enum.StrEnum):
    """States of a domain. A name routes and may have a certificate in every state of `SERVED`."""

    PENDING_VALIDATION = "pending_validation"
    VERIFIED = "verified"
    AWAITING_CUTOVER = "awaiting_cutover"
    ISSUING = "issuing"
    ACTIVE = "active"
    ATTENTION = "attention"
    SUSPENDED = "suspended"
    PARKED = "parked"
    REMOVED = "removed"


class TokenScope(enum.StrEnum):
    """What a bearer token is good for."""

    TENANT = "tenant"
    """One workspace's own domains."""
    PLATFORM = "platform"
    """The domains of all workspaces."""
    OPERATOR_READ = "operator:read"
    """Everything that the operator API tells."""
    OPERATOR_WRITE = "operator:write"
    """Everything that the operator API does."""
    DOMAIN_READ = "domain:read"
    """To look at one domain, for some minutes: for a page in a browser."""


RevocationReason = Literal["unspecified", "keyCompromise", "affiliationChanged", "superseded", "cessationOfOperation"]
"""Why a certificate is revoked: of RFC 5280 section 5.3.1 those that a subscriber may give (CA/Browser Forum BR 7.2.2)."""

SERVED = frozenset((DomainState.VERIFIED, DomainState.ISSUING, DomainState.ACTIVE, DomainState.ATTENTION))

ANSWERED = SERVED | {DomainState.SUSPENDED}
"""States in which visitors get an answer under the name's certificate: a suspended name keeps it, for the page that says so."""


def wire_hostname(name: str) -> str | None:
    """A hostname as it came over the wire (SNI, Host without port), normalised; None where it is not one.

    Lower case, without a trailing dot, A-labels only. IP literals, single labels (but "localhost"), empty or over-long
    labels, a numeric last label (RFC 3696 section 2; WHATWG URL treats it as IPv4) and anything outside letters, digits,
    hyphen and underscore (in all labels but the last) are not hostnames.
    """
    if not name.isascii():  # there are letters whose lower case is ASCII: U+212A, the sign for Kelvin, would become a k
        return None
    name = name.lower().removesuffix(".")
    if not _LDH_NAME.match(name):
        return None
    _, dot, last = name.rpartition(".")
    if (not dot and name != "localhost") or _NUMERIC_LABEL.match(last):
        return None
    return name


def hostname(text: str, *, wildcard: bool = False) -> str:
    """A hostname as a person wrote it, to A-labels (UTS 46, IDNA 2008, STD 3); raises InvalidName saying what is wrong.

    With `wildcard` the first label may be "*".
    """
    name = text.strip()
    if not name:
        raise InvalidName("The hostname is empty. Write a name like gallery.example.com.")
    star, name = ("*.", name[2:]) if wildcard and name.startswith("*.") else ("", name)
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        pass
    else:
        raise InvalidName(f"{text!r} is an IP address; a domain name is needed.")
    try:
        ascii_name = name if name.isascii() else idna.encode(name, uts46=True, std3_rules=True).decode("ascii")
    except idna.IDNAError as error:
        raise InvalidName(f"{text!r} is not a valid internationalised name: {error}.") from None
    wire = wire_hostname(ascii_name)
    if wire is None:
        if "." not in ascii_name.removesuffix(".") and _LDH_NAME.match(ascii_name.lower().removesuffix(".")):
            raise InvalidName(f"{text!r} is not a valid hostname: it is a single label. Write it like gallery.example.com.")
        raise InvalidName(
            f"{text!r} is not a valid hostname. Write it like gallery.example.com: labels of letters, digits and hyphens, "
            "without scheme, port or path."
        )
    for label in wire.split("."):
        if label.startswith("xn--"):
            try:
                idna.ulabel(label)
            except idna.IDNAError as error:
                raise InvalidName(f"{text!r} has an invalid A-label {label!r}: {error}.") from None
    return star + wire


def serial_number(text: str) -> str:
    """A certificate's serial number as people have it (colons, capitals, 0x, leading zeros) to the form in which it is kept:
    lower-case hex. Raises InvalidName."""
    digits = text.strip().lower().removeprefix("0x").replace(":", "").lstrip("0")
    if not re.fullmatch(r"[0-9a-f]{1,64}", digits):
        raise InvalidName(f"{text[:100]!r} is not a serial number; write it in hex, like 03:a1:5f or 03A15F.")
    return digits


def workspace_id(text: str) -> str:
    """Checks a workspace id; raises InvalidName."""
    if not WORKSPACE_ID.match(text):
        raise InvalidName(
            f"{text!r} is not a workspace id: a letter or digit, then up to 62 letters, digits, dots, underscores or hyphens."
        )
    return text


def wildcard_of(name: str) -> str:
    """The wildcard that would cover the name: "*.example.com" for "a.example.com". One label only (RFC 6125)."""
    return "*." + name.partition(".")[2]


def covers(pattern: str, name: str) -> bool:
    """Whether a certificate's name, possibly a wildcard, covers a hostname. Both normalised."""
    return pattern == name or (pattern.startswith("*.") and wildcard_of(name) == pattern)
