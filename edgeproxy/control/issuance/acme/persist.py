"""dns-persist-01 (draft-ietf-acme-dns-persist): a TXT record that the customer sets once, and that names CA and account.

Nothing is put anywhere: the record is computed, shown, and looked for. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeproxy.control.issuance.acme.wire import Challenge

ISSUERS = 10
"""Issuer domain names of a challenge; one with more is malformed (section 3.1)."""

OTHER_ACCOUNT = "its accounturi is another one"
"""What `fault_of` says of a record that may be good, for somebody else."""

_ISSUER = re.compile(r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\Z")
_VALUE = re.compile(r"[\x21-\x3a\x3c-\x7e]*\Z")
_BLANK = " \t"


def record_name(hostname: str) -> str:
    """Where the record stands, for a hostname and for its wildcard alike."""
    return f"_validation-persist.{hostname.removeprefix('*.')}"


def record_value(issuer: str, account: str, *, wildcard: bool, until: int | None = None) -> str:
    """The text of the record.

    `issuer` is one of the CA's issuer domain names, `account` the account's URI. Without `wildcard` it is good for the name
    alone; with it also for its wildcard. `until`: Unix time after which the CA no longer accepts it.
    """
    parts = [issuer, f"accounturi={account}"]
    if wildcard:
        parts.append("policy=wildcard")
    if until is not None:
        parts.append(f"persistUntil={until}")
    return "; ".join(parts)


def issuers_of(challenge: Challenge, identities: Sequence[str]) -> tuple[str, ...]:
    """The issuer domain names that count for a challenge. Empty where it has none, too many or malformed ones: the client must
    reject such a challenge. `identities` are the directory's caaIdentities, for challenges of older drafts without any."""
    names = challenge.issuer_domain_names or tuple(identities)
    if len(names) > ISSUERS or not all(_ISSUER.match(name) for name in names):
        return ()
    return names


def fault_of(record: str, issuers: Sequence[str], account: str, *, wildcard: bool, now: float) -> str | None:
    """What is wrong with a TXT record, in a few words; None where it is good, "" where it is not for this CA at all.

    By the rules of a CA: RFC 8659's issue-value, tags in any case and each once, unknown ones ignored.
    """
    issuer, *parameters = (part.strip(_BLANK) for part in record.split(";"))
    if issuer not in issuers:
        return ""
    tags: dict[str, str] = {}
    for parameter in parameters:
        tag, equals, value = (part.strip(_BLANK) for part in parameter.partition("="))
        if not tag or not equals or not _VALUE.match(value):
            return f"{parameter[:60]!r} in it is not tag=value"
        if tag.lower() in tags:
            return f"it has {tag[:60]} twice"
        tags[tag.lower()] = value
    if tags.get("accounturi") != account:
        return OTHER_ACCOUNT
    if wildcard and tags.get("policy", "").lower() != "wildcard":
        return "it has no policy=wildcard"
    until = tags.get("persistuntil")
    if until is not None and not re.fullmatch(r"-?[0-9]{1,18}", until):
        return "its persistUntil is not a number of seconds"
    if until is not None and int(until) < now:
        return "its persistUntil is over"
    return None
