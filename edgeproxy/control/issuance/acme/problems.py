"""What a CA complains of, in plain words: what happened, whose fault it is, whether to try again. Pure."""

from __future__ import annotations

from email.utils import parsedate_to_datetime

from edgeproxy.control.issuance.acme.wire import Problem
from edgeproxy.errors import Fault, IssuanceError

DETAIL_LENGTH = 400
"""Characters of a CA's own words that are passed on."""

RETRY_AFTER_MAX = 7 * 86_400.0
"""Seconds for which a Retry-After is believed."""


class CaRefused(IssuanceError):
    """The CA answered with a problem document, or was not there to answer.

    `problem` is its code ("rateLimited", "connection", …; "unreachable" or "lost" where nothing answered), `retry_after` the
    seconds that it asked for (0: none), `status` the HTTP status (0: none), `challenge` the challenge that failed, `said` the
    CA's own words.
    """

    def __init__(
        self,
        detail: str,
        *,
        problem: str,
        fault: Fault = Fault.CA,
        retryable: bool = True,
        retry_after: float = 0.0,
        status: int = 0,
        challenge: str = "",
        said: str = "",
    ) -> None:
        super().__init__(detail, code="ca_refused" if status else "ca_unavailable", fault=fault, retryable=retryable)
        self.problem = problem
        self.retry_after = retry_after
        self.status = status
        self.challenge = challenge
        self.said = said
        self.directory = ""
        """Of the CA, where there are several."""

    @property
    def about_the_ca(self) -> bool:
        """Whether this says nothing of the name: the CA is away, busy or broken, and other names would fare the same."""
        return (
            self.problem in ("unreachable", "lost", "serverInternal", "badNonce", "noNonce")
            or self.whole_ca
            or self.status >= 500
        )

    @property
    def whole_ca(self) -> bool:
        """Whether the answer was that of a server, or of what stands before it, that has no time for anybody. A 500 with a
        problem document is not: one order can be what a CA stumbles over."""
        return (
            self.status in (502, 503, 504)
            or self.problem == "http429"
            or (self.status >= 500 and self.problem.startswith("http"))
        )

    @property
    def may_have_been_taken(self) -> bool:
        """Whether the CA may have done what it was asked for all the same."""
        return self.status in (0, 500, 502, 504) and self.problem != "unreachable"

    @property
    def about_the_account(self) -> bool:
        """Whether the CA may not accept our account any more, or wants something of its owner."""
        if self.problem == "unauthorized":
            return self.status in (401, 403) and not self.challenge
        return self.problem in ("accountDoesNotExist", "userActionRequired")

    @property
    def order_lives(self) -> bool:
        """Whether the order is to be continued, or made, once the reason is gone. Else a new try is a new order."""
        return self.about_the_ca or self.about_the_account or self.problem in ("slow", "rateLimited", "early", "deactivated")

    @property
    def another_challenge_may_help(self) -> bool:
        """Whether the validation failed in a way that depends on the challenge."""
        return bool(self.challenge) and self.problem in _BY_CHALLENGE


def refusal(
    problem: Problem,
    *,
    status: int = 0,
    name: str = "",
    challenge: str = "",
    retry_after: float = 0.0,
    terms: str = "",
) -> CaRefused:
    """The error for a problem document. `name` and `challenge` are what was being validated, where anything was; `terms` the
    address of terms of service that came with it."""
    inner = _deepest(problem)
    known = _IN_THE_DNS.get(inner.code) if challenge in _RECORDS else None
    sentence, fault, retryable = known or _MEANINGS.get(inner.code, _unknown(status))
    if inner.code == "unauthorized" and not challenge and status in (401, 403):
        sentence, fault, retryable = _NOT_OURS
    subject = name or inner.identifier.value or "the request"
    said = _clean(inner.detail or inner.title)
    text = sentence.format(
        name=subject,
        port=_PORTS.get(challenge, "443 or 80"),
        challenge=challenge or "the challenge",
        record=f"{_RECORDS.get(challenge, '')}{subject.removeprefix('*.')}",
    )
    if inner.code == "userActionRequired":
        text = _terms(text, terms, inner.instance)
    detail = f"{text} The CA says: {said}" if said else text
    return CaRefused(
        detail,
        problem=inner.code,
        fault=fault,
        retryable=retryable,
        retry_after=retry_after,
        status=status or 400,
        challenge=challenge,
        said=said,
    )


def unreachable(host: str, reason: str, *, problem: str = "unreachable") -> CaRefused:
    """The error for a CA that gives no HTTP answer; `problem` is "lost" where the request may have been taken."""
    return CaRefused(
        f"The certificate authority at {host} cannot be reached: {reason}. It is tried again; look at the network and at "
        "issuance.directory if this stays.",
        problem=problem,
    )


def retry_after(value: str | None, now: float) -> float:
    """Seconds to wait by a Retry-After field, which is seconds or an HTTP date (RFC 9110 section 10.2.3); 0 without one."""
    if not value:
        return 0.0
    value = value.strip()
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), RETRY_AFTER_MAX)
    try:
        return min(max(0.0, parsedate_to_datetime(value).timestamp() - now), RETRY_AFTER_MAX)
    except (ValueError, TypeError, OverflowError):
        return 0.0


def _deepest(problem: Problem) -> Problem:
    """The part of a compound problem that says most."""
    if problem.subproblems and problem.code in ("compound", "malformed", "blank", "rejectedIdentifier"):
        return problem.subproblems[0]
    return problem


def _terms(text: str, terms: str, instance: str) -> str:
    """Where the account's owner has to go (RFC 8555 section 7.3.3)."""
    read = f" Read them at {_clean(terms).rstrip('.')}" if terms else ""
    agree = f" Agree at {_clean(instance).rstrip('.')}" if instance else " Agree with the CA"
    return f"{text}{read}{'.' if read else ''}{agree}; it is tried again by itself. Present certificates are served on."


def _clean(text: str) -> str:
    """A CA's words on one line and without control characters: they end up in logs and on terminals."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    line = line if len(line) <= DETAIL_LENGTH else line[: DETAIL_LENGTH - 1] + "…"
    return line if not line or line[-1] in ".!?…" else line + "."


def _unknown(status: int) -> tuple[str, Fault, bool]:
    if status >= 500:
        return f"The CA is out of order (HTTP status {status}); it is tried again.", Fault.CA, True
    return f"The CA refused {{name}}{f' (HTTP status {status})' if status else ''}.", Fault.CA, True


_BY_CHALLENGE = frozenset(("connection", "unauthorized", "tls", "incorrectResponse", "malformed"))
_RECORDS = {"dns-01": "_acme-challenge.", "dns-persist-01": "_validation-persist."}
_PORTS = {"tls-alpn-01": "443", "http-01": "80"}
_DNS, _CA, _OPERATOR = Fault.CUSTOMER_DNS, Fault.CA, Fault.OPERATOR

_NOT_OURS = ("The CA does not let our account do this for {name}.", Fault.CA, True)

_NOT_FOUND = (
    "The CA did not find the right TXT record at {record}: a CNAME there leads elsewhere, or not all name servers have it.",
    _DNS,
    True,
)
_NOT_ASKED = ("The CA could not look up {record} in the DNS: look at the delegation of its zone, its CNAME's too.", _DNS, True)

_IN_THE_DNS: dict[str, tuple[str, Fault, bool]] = {
    "unauthorized": _NOT_FOUND,
    "incorrectResponse": _NOT_FOUND,
    "malformed": _NOT_FOUND,
    "dns": _NOT_ASKED,
    "connection": _NOT_ASKED,
    "unknownHost": _NOT_ASKED,
}
"""Those of challenges for which the CA looks into the DNS."""

_MEANINGS: dict[str, tuple[str, Fault, bool]] = {
    "connection": (
        "The CA could not connect to {name} on port {port}: its DNS does not point at this edge, or a firewall is between.",
        _DNS,
        True,
    ),
    "unauthorized": (
        "The CA reached another server when it checked {name} by {challenge}: its DNS points elsewhere, or a proxy is between.",
        _DNS,
        True,
    ),
    "incorrectResponse": ("The CA got a wrong answer to {challenge} from {name}: another server answers there.", _DNS, True),
    "tls": (
        "The TLS handshake of {challenge} with {name} failed: another server answers, or a proxy that ends TLS is between.",
        _DNS,
        True,
    ),
    "dns": ("The CA could not look up {name} in the DNS. Look at its A, AAAA and CNAME records.", _DNS, True),
    "unknownHost": ("The CA found no address for {name} in the DNS. Set its record.", _DNS, True),
    "dnssec": ("The CA could not validate DNSSEC for {name}. Its zone's signatures are broken.", _DNS, True),
    "caa": ("A CAA record of {name} forbids this CA to issue. Allow the CA there, or remove the record.", _DNS, True),
    "rateLimited": ("The CA's rate limit is reached; {name} waits until it may be tried again.", _CA, True),
    "rejectedIdentifier": ("The CA issues no certificates for {name}.", _CA, False),
    "unsupportedIdentifier": ("The CA issues no certificates for names like {name}.", _CA, False),
    "externalAccountRequired": (
        "The CA wants an external account. Set issuance.eab.key_id and issuance.eab.hmac_key as the CA gave them to you.",
        _OPERATOR,
        False,
    ),
    "userActionRequired": ("The CA has changed its terms of service and waits for you to agree.", _OPERATOR, True),
    "invalidContact": ("The CA does not accept issuance.email.", _OPERATOR, False),
    "unsupportedContact": ("The CA does not accept issuance.email.", _OPERATOR, False),
    "invalidProfile": ("The CA does not have the profile that issuance.profile names.", _OPERATOR, False),
    "accountDoesNotExist": ("The CA does not know our account any more.", _CA, True),
    "alreadyRevoked": ("The CA has revoked the certificate already.", _CA, False),
    "badRevocationReason": ("The CA does not take this reason for a revocation. Give another one.", Fault.CLIENT, False),
    "badNonce": ("The CA refused our nonces again and again; it is tried again.", _CA, True),
    "badCSR": ("The CA does not accept our certificate request for {name}. Look at tls.key_type.", _CA, False),
    "badPublicKey": ("The CA does not accept this kind of key. Look at tls.key_type.", _OPERATOR, False),
    "badSignatureAlgorithm": ("The CA does not accept how we sign our requests.", _CA, False),
    "serverInternal": ("The CA is out of order; it is tried again.", _CA, True),
    "orderNotReady": ("The CA does not find the order for {name} ready.", _CA, True),
}
