"""What an ACME server says (RFC 8555), as structs. Unknown fields are ignored; a status may be any word.

Requests are built with `acme.messages`. Its own classes for answers refuse statuses that they do not know ("expired"),
so answers are read by these.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from edgeproxy.errors import IssuanceError


class _Answer(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What every answer has in common."""


class Meta(_Answer, frozen=True):
    """Directory metadata (section 9.7.6)."""

    terms_of_service: str = ""
    external_account_required: bool = False
    caa_identities: tuple[str, ...] = ()
    profiles: dict[str, str] = {}


class Directory(_Answer, frozen=True):
    """Where things are (section 7.1.1)."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str = ""
    key_change: str = ""
    renewal_info: str = ""
    """Of RFC 9773; empty where the CA does not have it."""
    meta: Meta = Meta()


class Identifier(_Answer, frozen=True):
    """What is to be certified."""

    type: str = "dns"
    value: str = ""


class Problem(_Answer, frozen=True):
    """A problem document (section 6.7)."""

    type: str = "about:blank"
    title: str = ""
    detail: str = ""
    instance: str = ""
    identifier: Identifier = Identifier()
    subproblems: tuple[Problem, ...] = ()

    @property
    def code(self) -> str:
        """The last part of the type: "rateLimited"."""
        return self.type.rpartition(":")[2]


class Account(_Answer, frozen=True):
    """An account (section 7.1.2)."""

    status: str = "valid"
    orders: str = ""


class OrderList(_Answer, frozen=True):
    """An account's orders (section 7.1.2.1)."""

    orders: tuple[str, ...] = ()


class Order(_Answer, frozen=True):
    """An order (section 7.1.3)."""

    status: str
    identifiers: tuple[Identifier, ...] = ()
    authorizations: tuple[str, ...] = ()
    finalize: str = ""
    certificate: str = ""
    error: Problem | None = None


class Challenge(_Answer, frozen=True):
    """A challenge of an authorization (section 8)."""

    type: str
    url: str
    status: str = "pending"
    token: str = ""
    issuer_domain_names: tuple[str, ...] = msgspec.field(name="issuer-domain-names", default=())
    """Of dns-persist-01, as is `accounturi`."""
    accounturi: str = ""
    error: Problem | None = None


class Authorization(_Answer, frozen=True):
    """An authorization (section 7.1.4)."""

    status: str
    identifier: Identifier = Identifier()
    challenges: tuple[Challenge, ...] = ()


class SuggestedWindow(_Answer, frozen=True):
    """When to renew (RFC 9773 section 4.2), as timestamps of RFC 3339."""

    start: str
    end: str


class RenewalInfo(_Answer, frozen=True):
    """A CA's renewal information of one certificate."""

    suggested_window: SuggestedWindow
    explanation_url: str = msgspec.field(name="explanationURL", default="")


AnswerType = TypeVar("AnswerType", bound=_Answer)


def read(body: bytes, kind: type[AnswerType]) -> AnswerType:
    """Reads an answer; raises IssuanceError where it is not JSON of that kind."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise IssuanceError(
            f"The CA's answer cannot be understood ({kind.__name__}: {str(error)[:200]}). Is issuance.directory an ACME "
            "directory?",
            code="ca_malformed",
        ) from None


def read_problem(status: int, body: bytes) -> Problem:
    """Reads the body of a refused request; an answer that is not a problem document becomes one."""
    try:
        return msgspec.json.decode(body, type=Problem)
    except (msgspec.MsgspecError, RecursionError):
        return Problem(type=f"about:http{status}", detail="")
