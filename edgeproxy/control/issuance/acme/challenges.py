"""Which challenges can be used for a name, and how HTTP-01 and TLS-ALPN-01 are answered. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.acme.wire import Authorization
from edgeproxy.control.issuance.acme.wire import Challenge as OfferedChallenge
from edgeproxy.control.issuance.certificates import tls_alpn_certificate
from edgeproxy.errors import Fault, IssuanceError
from edgeproxy.published.records import Challenge
from edgeproxy.published.seal import Sealer

BY_ADDRESS = ("tls-alpn-01", "http-01")
"""Challenges for which the CA connects to the name's address."""

BY_DNS = ("dns-01", "dns-persist-01")
"""Challenges for which it looks into the DNS, and which alone are good for wildcards."""

SOLVABLE = (*BY_ADDRESS, *BY_DNS)

NO_DNS = "neither dns.zone nor dns.rfc2136 is set"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,256}\Z")


class NotApplicable(IssuanceError):
    """A challenge cannot be used for a name as things stand. `detail` says why, and who has to change what."""

    code = "challenge_not_applicable"
    fault = Fault.CUSTOMER_DNS


class AnswerFailed(IssuanceError):
    """The answer to a challenge could not be put where the CA looks. Another challenge may do."""

    code = "challenge_not_answered"
    fault = Fault.OPERATOR


def preference(configured: Sequence[str], hostname: str, worked: str = "") -> tuple[str, ...]:
    """The configured challenges that can prove such a name, most preferred first; before all the one that worked last for it,
    if it is still configured. Raises IssuanceError where there is none."""
    possible = BY_DNS if hostname.startswith("*.") else SOLVABLE
    usable = tuple(dict.fromkeys(kind for kind in configured if kind in possible))
    if not usable:
        raise IssuanceError(
            f"None of issuance.challenges ({', '.join(configured) or 'empty'}) can prove {hostname}. Add one of "
            f"{', '.join(possible)}.",
            fault=Fault.OPERATOR,
            retryable=False,
        )
    return (worked, *(kind for kind in usable if kind != worked)) if worked in usable else usable


def dns_configured(config: Config) -> bool:
    """Whether DNS-01 can be answered for any name at all."""
    return bool(config.dns.zone or config.dns.rfc2136.server)


def proves_wildcards(config: Config) -> bool:
    """Whether a wildcard can be proven to an ACME CA at all."""
    configured = config.issuance.challenges
    return "dns-persist-01" in configured or ("dns-01" in configured and dns_configured(config))


def hindrance(kind: str, config: Config) -> NotApplicable | None:
    """Why a challenge cannot be used for any name, as far as the configuration tells; None where it can."""
    if kind == "http-01" and not config.listen.http:
        return NotApplicable("Nothing listens for it (listen.http).", fault=Fault.OPERATOR, retryable=False)
    if kind == "dns-01" and not dns_configured(config):
        return NotApplicable(f"It is not set up ({NO_DNS}).", fault=Fault.OPERATOR, retryable=False)
    return None


def choose(authorization: Authorization, preferred: Sequence[str]) -> OfferedChallenge | None:
    """The most preferred of the offered challenges, or None."""
    offered = {challenge.type: challenge for challenge in authorization.challenges}
    for kind in preferred:
        if kind in offered:
            return offered[kind]
    return None


def checked_token(challenge: OfferedChallenge) -> str:
    """The challenge's token. Raises CaRefused for one that is none: it becomes part of a path and of keys."""
    if not _TOKEN.match(challenge.token):
        raise CaRefused("The CA sent a challenge without a usable token.", problem="malformed", status=200)
    return challenge.token


def answer(
    challenge: OfferedChallenge, hostname: str, key_authorization: str, sealer: Sealer, now: float
) -> tuple[str, Challenge]:
    """The map's key and record for a challenge of BY_ADDRESS. Raises CaRefused for a token that is none."""
    token = checked_token(challenge)
    if challenge.type == "http-01":
        return f"http:{hostname}/{token}", Challenge(hostname=hostname, token=token, key_authorization=key_authorization)
    chain, key = tls_alpn_certificate(hostname, key_authorization, now)
    sealed = sealer.seal(key, b"alpn:" + hostname.encode("ascii"))
    return f"alpn:{hostname}", Challenge(hostname=hostname, chain=chain, sealed_key=sealed)
