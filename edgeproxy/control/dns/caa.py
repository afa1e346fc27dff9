"""What CAA records allow (RFC 8659, and RFC 8657's parameters). Pure.

The records of one name count: the closest to the hostname, itself included, that has any. They are the customer's word on which
CA may issue; the CA must heed them, and asking first spares an order that is bound to fail.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

CRITICAL = 128
"""The flag of a record whose property a CA must understand, or not issue."""

KNOWN = frozenset(("issue", "issuewild", "iodef", "contactemail", "contactphone", "issuemail", "issuevmc"))
"""Properties that CAs understand (IANA's registry). Of these only `issue` and `issuewild` restrict certificates for servers."""

LEVELS = 12
"""Names that are asked from one hostname upwards. Of one with more labels, those nearest to the root are left to the CA."""

_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")
_PARAMETER = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)\s*=\s*([\x21-\x3a\x3c-\x7e]*)\s*\Z")


@dataclasses.dataclass(frozen=True, slots=True)
class CaaRecord:
    """One record."""

    flags: int
    tag: str
    value: str

    def __str__(self) -> str:
        return f'CAA {self.flags} {self.tag} "{_printable(self.value)}"'


@dataclasses.dataclass(frozen=True, slots=True)
class CaaSet:
    """The records that count for a name."""

    name: str
    """Where they are; empty: no name up to the root has any."""
    records: tuple[CaaRecord, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Whether a CA may issue."""

    methods: tuple[str, ...]
    """The challenges of those asked for by which it may, in their order; empty: it may not."""
    reason: str = ""
    """Where it may not: which record forbids it, in one plain sentence."""
    name: str = ""
    """Where the record stands, and where another has to be."""
    present: tuple[str, ...] = ()
    """The records that forbid, as in a zone file."""
    wanted: str = ""
    """The record that would allow it. Empty: one has to go instead."""

    @property
    def allowed(self) -> bool:
        """Whether it may."""
        return bool(self.methods)

    @property
    def sentence(self) -> str:
        """What forbids, and what would have to be there."""
        if self.allowed:
            return ""
        cure = f"Add the record {self.name} {self.wanted} there" if self.wanted else "Remove that record"
        return f"{self.reason} {cure}, or remove all CAA records of {self.name}."


def climb(name: str) -> list[str]:
    """The names whose CAA records may count for a hostname or wildcard, the closest first (RFC 8659 section 3)."""
    labels = name.removeprefix("*.").split(".")
    return [".".join(labels[number:]) for number in range(len(labels))][:LEVELS]


def rule(found: CaaSet, name: str, identities: Sequence[str], methods: Sequence[str], account: str = "") -> Ruling:
    """Whether a CA may issue for a hostname or wildcard.

    `identities` are the CA's names in CAA records (its directory's caaIdentities), `methods` the challenges that could be
    used, best first, `account` the URL of the account that orders. Without identities nothing is known of the CA, and it may.
    """
    methods = tuple(methods)
    if not identities or not found.records:
        return Ruling(methods=methods)
    for record in found.records:
        if record.flags & CRITICAL and record.tag.lower() not in KNOWN:
            reason = (
                f"The record {found.name} {record} is marked as critical, and CAs do not know what it means: none may issue."
            )
            return Ruling(methods=(), reason=reason, name=found.name, present=(str(record),))
    tag, restricting = _restricting(found, wildcard=name.startswith("*."))
    if not restricting:
        return Ruling(methods=methods)
    ours = [identity.lower() for identity in identities]
    allowed: set[str] = set()
    others: list[str] = []
    for record in restricting:
        domain, parameters = _issuer(record.value)
        if domain not in ours:
            continue
        permitted = _permitted(parameters, methods, account)
        if not permitted:
            others.append(str(record))
        allowed.update(permitted)
    if allowed:
        return Ruling(methods=tuple(method for method in methods if method in allowed))
    present = tuple(others or map(str, restricting))
    return Ruling(
        methods=(),
        reason=_reason(found.name, name, present, ours[0], parameters=bool(others)),
        name=found.name,
        present=present,
        wanted=f'CAA 0 {tag} "{ours[0]}"',
    )


def _restricting(found: CaaSet, *, wildcard: bool) -> tuple[str, list[CaaRecord]]:
    """The property that counts, and its records: for a wildcard `issuewild` where there is one (section 4.3)."""
    by_tag = {tag: [record for record in found.records if record.tag.lower() == tag] for tag in ("issue", "issuewild")}
    tag = "issuewild" if wildcard and by_tag["issuewild"] else "issue"
    return tag, by_tag[tag]


def _issuer(value: str) -> tuple[str, list[tuple[str, str]]]:
    """The CA of a record and its parameters. "" for no CA: ";", and what is malformed, which means the same (section 4.2)."""
    domain, *texts = value.split(";")
    domain = domain.strip(" \t").lower()
    if not _DOMAIN.match(domain):
        return "", []
    parameters = []
    for number, text in enumerate(texts):
        if not text.strip(" \t") and number == len(texts) - 1:
            continue
        match = _PARAMETER.match(text)
        if match is None:
            return "", []
        parameters.append((match[1].lower(), match[2]))
    return domain, parameters


def _permitted(parameters: Sequence[tuple[str, str]], methods: Sequence[str], account: str) -> list[str]:
    """The methods that a record for our CA allows this account (RFC 8657 sections 3 and 4)."""
    accounts = [value for key, value in parameters if key == "accounturi"]
    # More than one in a record can never be met; an account that is not known yet is left to the CA.
    if len(accounts) > 1 or (accounts and account and accounts[0] != account):
        return []
    lists = [value for key, value in parameters if key == "validationmethods"]
    if len(lists) > 1:
        return []
    listed = [method.strip().lower() for value in lists for method in value.split(",")]
    return [method for method in methods if not lists or method in listed]


def _reason(at: str, name: str, present: Sequence[str], identity: str, *, parameters: bool) -> str:
    records = " and ".join(f"{at} {record}" for record in present[:3])
    many = len(present) > 1
    if parameters:
        which = "allow" if many else "allows"
        return (
            f"The record{'s' if many else ''} {records} {which} {identity} only for another account or other challenges than "
            f"those that this edge has for {name}."
        )
    return f"The record{'s' if many else ''} {records} {'do' if many else 'does'} not let the CA {identity} issue for {name}."


def _printable(text: str) -> str:
    """What others wrote into their zone, fit for a terminal."""
    shown = "".join(char if char.isprintable() and char not in '"\\' else "·" for char in text)
    return shown if len(shown) <= 200 else shown[:199] + "…"
