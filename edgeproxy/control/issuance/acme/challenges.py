"""How a challenge is answered: the record that workers serve, and where it stands in the published map. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.wire import Authorization
from edgeproxy.control.issuance.acme.wire import Challenge as OfferedChallenge
from edgeproxy.control.issuance.certificates import tls_alpn_certificate
from edgeproxy.errors import Fault, IssuanceError
from edgeproxy.published.records import Challenge
from edgeproxy.published.seal import Sealer

SOLVABLE = ("tls-alpn-01", "http-01")
"""Challenges that we can answer. dns-01 in the configuration is skipped: for it something must answer in the DNS."""

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")


def preference(configured: Sequence[str]) -> tuple[str, ...]:
    """The configured challenges that can be answered, in their order; raises IssuanceError where none is left."""
    usable = tuple(dict.fromkeys(kind for kind in configured if kind in SOLVABLE))
    if not usable:
        raise IssuanceError(
            f"None of issuance.challenges ({', '.join(configured) or 'empty'}) can be answered. Use tls-alpn-01 or http-01.",
            fault=Fault.OPERATOR,
            retryable=False,
        )
    return usable


def choose(authorization: Authorization, preferred: Sequence[str]) -> OfferedChallenge | None:
    """The most preferred of the offered challenges, or None."""
    offered = {challenge.type: challenge for challenge in authorization.challenges}
    for kind in preferred:
        if kind in offered:
            return offered[kind]
    return None


def answer(
    challenge: OfferedChallenge, hostname: str, key_authorization: str, sealer: Sealer, now: float
) -> tuple[str, Challenge]:
    """The map's key and record for a challenge of SOLVABLE. Raises IssuanceError for a token that is not one: it becomes
    part of a path and of a key."""
    if not _TOKEN.match(challenge.token):
        raise CaRefused("The CA sent a challenge without a usable token.", problem="malformed", status=200)
    if challenge.type == "http-01":
        record = Challenge(hostname=hostname, token=challenge.token, key_authorization=key_authorization)
        return f"http:{hostname}/{challenge.token}", record
    chain, key = tls_alpn_certificate(hostname, key_authorization, now)
    sealed = sealer.seal(key, b"alpn:" + hostname.encode("ascii"))
    return f"alpn:{hostname}", Challenge(hostname=hostname, chain=chain, sealed_key=sealed)
