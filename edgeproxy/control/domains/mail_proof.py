"""Proving a domain by mail: to whom, with what, how often, and what the mail says. Pure, but for what is random.

The addresses are those that CA/Browser Forum BR 3.2.2.4.4 calls constructed: whoever reads them speaks for the registered
domain.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import html
import secrets
from datetime import UTC, datetime

from edgeproxy.control.store.rows.domains import MailProof
from edgeproxy.errors import EdgeError, Fault

LOCAL_PARTS = ("admin", "administrator", "webmaster", "hostmaster", "postmaster")

LIFETIME = 86_400.0
"""Seconds for which link and code count."""

TRIES = 5
"""Codes that may be tried for one mail: a guess succeeds once in twenty million mails."""

CODE_DIGITS = 8

LINK_BYTES = 32

PAUSES = (60.0, 300.0, 1800.0, 7200.0, 21_600.0)
"""Seconds between two mails for the same name; the last again and again."""

DAY = 86_400.0

TO_A_DOMAIN = 10
"""Mails to the addresses of one registered domain in a day, for however many names beneath it."""

FOR_A_WORKSPACE = 100
"""Mails for names of one workspace in a day."""


class ProofRefused(EdgeError):
    """A link or code that proves nothing, or a name that cannot be proven so."""

    code = "proof_refused"
    fault = Fault.CLIENT


class TooManyMails(EdgeError):
    """Enough mail was sent for now. `retry_after` seconds later another one may be."""

    code = "too_many_mails"
    fault = Fault.CLIENT
    retryable = True

    def __init__(self, detail: str, retry_after: float) -> None:
        super().__init__(detail)
        self.retry_after = retry_after


def addresses(registered: str) -> tuple[str, ...]:
    """Who speaks for a registered domain."""
    return tuple(f"{part}@{registered}" for part in LOCAL_PARTS)


def made() -> tuple[str, str]:
    """(what the link ends with, the code), random."""
    return secrets.token_urlsafe(LINK_BYTES), f"{secrets.randbelow(10**CODE_DIGITS):0{CODE_DIGITS}d}"


def link_digest(link: str) -> bytes:
    """Of 256 random bits, which nobody finds again from it."""
    return hashlib.sha256(link.encode("utf-8", "replace")).digest()


def code_digest(key: bytes, hostname: str, code: str) -> bytes:
    """Keyed: a hundred million codes are tried in a second by whoever has the digest. Spaces and hyphens of people are not
    part of a code."""
    digits = "".join(code.replace("-", " ").split())
    return hmac.digest(key, f"mail\0{hostname}\0{digits}".encode("utf-8", "replace"), "sha256")


def is_code(proof: MailProof, key: bytes, code: str) -> bool:
    """Whether this is the code of a mail, in constant time."""
    return hmac.compare_digest(proof.code_digest, code_digest(key, proof.hostname, code))


def sends(before: MailProof | None, now: float) -> int:
    """How many mails for a name within a day the next one will be."""
    return 1 if before is None or not before.sent_at <= now < before.sent_at + DAY else before.sends + 1


def check_pace(before: MailProof | None, to_domain: int, for_workspace: int, now: float) -> None:
    """Raises TooManyMails where no mail may be sent now. `before` is the last one for the name, the counts are those of the
    last day."""
    if before is not None and before.sent_at <= now:
        pause = PAUSES[min(before.sends, len(PAUSES)) - 1]
        if now < before.sent_at + pause:
            left = before.sent_at + pause - now
            raise TooManyMails(
                f"A mail for {before.hostname} was sent {_ago(now - before.sent_at)} ago. Look into the mailboxes of "
                f"{before.addresses.replace(' ', ', ')}, and at spam there; another one can be sent in {_ago(left)}.",
                left,
            )
    if to_domain >= TO_A_DOMAIN:
        detail = f"{TO_A_DOMAIN} mails were sent to this domain within a day. Use a record in the DNS, or try tomorrow."
        raise TooManyMails(detail, DAY / 24)
    if for_workspace >= FOR_A_WORKSPACE:
        detail = f"{FOR_A_WORKSPACE} mails were sent for this workspace within a day. Use records in the DNS, or try tomorrow."
        raise TooManyMails(detail, DAY / 24)


def _ago(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"


@dataclasses.dataclass(frozen=True, slots=True)
class Letter:
    """What a mail says."""

    subject: str
    text: str
    html: str


def letter(
    hostname: str, registered: str, workspace_id: str, *, platform: str, link: str, code: str, expires_at: float
) -> Letter:
    """The mail. `platform` is what the customer knows; `link` is empty where there is no page to lead to. Nothing in it was
    written by who asked for it, but for names that were checked."""
    until = datetime.fromtimestamp(expires_at, UTC).strftime("%Y-%m-%d %H:%M UTC")
    shown = f"{code[:4]} {code[4:]}"
    asked = f"Somebody wants to show a website of theirs at {platform} under the name {hostname} (workspace {workspace_id})."
    why = f"You get this mail because your address speaks for {registered}."
    page = "If that is right, open this page and press the button there:"
    enter = (
        "Or enter this code where you were asked for one:"
        if link
        else "If that is right, enter this code where you were asked:"
    )
    once = f"It counts once, until {until}."
    else_ = "If you do not know of this, do nothing: without you nothing happens."
    lines = [asked, why, *([page, f"  {link}"] if link else []), enter, f"  {shown}", once, else_]

    def paragraph(text: str) -> str:
        return f"<p>{html.escape(text)}</p>"

    button = f'<p><a href="{html.escape(link)}">{html.escape(link)}</a></p>'
    body = [paragraph(asked), paragraph(why), *([paragraph(page), button] if link else []), paragraph(enter)]
    body += [
        f'<p style="font-size:1.5em;letter-spacing:.1em"><b>{html.escape(shown)}</b></p>',
        paragraph(once),
        paragraph(else_),
    ]
    return Letter(
        subject=f"May {hostname} be used at {platform}?",
        text="\n\n".join(lines) + "\n",
        html="<!doctype html><html lang=en><body>" + "".join(body) + "</body></html>",
    )
