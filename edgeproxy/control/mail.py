"""Mail by SMTP: to the server of `mail.server`, within a bound of time, and what went wrong in a sentence."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as WIRE
from email.utils import format_datetime, make_msgid, parseaddr

import aiosmtplib

from edgeproxy.config.mail import PORTS
from edgeproxy.config.structs import Config
from edgeproxy.control.unreachable import reason
from edgeproxy.errors import EdgeError, Fault

AT_ONCE = 4
"""Connections to the server at once."""

QUEUE = 200
"""Mails under way or waiting for their turn. Above it: not now."""

SAYS = 200
"""Characters that are quoted of what the server says."""


class MailFailed(EdgeError):
    """A mail was not taken by the server."""

    code = "mail_failed"
    fault = Fault.OPERATOR
    retryable = True


class MailNotSet(MailFailed):
    """There is no server that could take one."""

    code = "mail_not_set"
    retryable = False


class Mailer:
    """Sends mail as `config.mail` says."""

    def __init__(self, config: Config) -> None:
        self._settings = config.mail
        self._ehlo = config.api.hostname or config.platform.cname_target or "localhost"
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._under_way = 0
        self._context: ssl.SSLContext | None = None

    @property
    def is_set(self) -> bool:
        """Whether mail can be sent at all."""
        return bool(self._settings.server)

    async def send(self, recipients: Sequence[str], subject: str, text: str, html: str = "") -> None:
        """Sends one mail to all recipients; returns once the server has taken it for at least one of them. Raises MailFailed.

        Recipients are addresses in ASCII. That the server took it does not say that it arrives.
        """
        if not self.is_set:
            detail = "No mail can be sent: mail.server is not set. Write the [mail] table of the configuration, and reload."
            raise MailNotSet(detail)
        if self._under_way >= QUEUE:
            raise MailFailed(f"{QUEUE} mails wait to be sent already. Try again in a minute.")
        message = self._message(recipients, subject, text, html)
        self._under_way += 1
        try:
            async with self._turns:
                await self._hand_over(message, recipients)
        finally:
            self._under_way -= 1

    def _message(self, recipients: Sequence[str], subject: str, text: str, html: str) -> EmailMessage:
        name, address = parseaddr(self._settings.sender)
        message = EmailMessage(policy=WIRE)
        message["From"] = Address(name, addr_spec=address)
        message["To"] = ", ".join(recipients)
        message["Subject"] = subject
        message["Date"] = format_datetime(datetime.now(UTC))
        message["Message-ID"] = make_msgid(domain=address.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's holiday answers it
        message.set_content(text)
        if html:
            message.add_alternative(html, subtype="html")
        return message

    async def _hand_over(self, message: EmailMessage, recipients: Sequence[str]) -> None:
        mail = self._settings
        port = mail.port or PORTS[mail.security]
        where = f"The mail server {mail.server}:{port}"
        try:
            async with asyncio.timeout(mail.timeout):
                await aiosmtplib.send(
                    message,
                    sender=parseaddr(mail.sender)[1],
                    recipients=list(recipients),
                    hostname=mail.server,
                    port=port,
                    username=mail.username or None,
                    password=mail.password or None,
                    local_hostname=self._ehlo,
                    timeout=float(mail.timeout),
                    use_tls=mail.security == "tls",
                    start_tls=mail.security == "starttls",
                    tls_context=None if mail.security == "none" else await self._tls(),
                )
        except (TimeoutError, aiosmtplib.SMTPTimeoutError) as error:
            raise MailFailed(f"{where} did not take a mail within {mail.timeout}.") from error
        except aiosmtplib.SMTPAuthenticationError as error:
            said = _said(error.code, error.message)
            raise MailFailed(f"{where} does not let this edge in: {said} See mail.username and mail.password.") from error
        except aiosmtplib.SMTPRecipientsRefused as error:
            said = "; ".join(f"{each.recipient}: {_said(each.code, each.message)}" for each in error.recipients[:5])
            raise MailFailed(f"{where} takes mail for none of these addresses: {said}", code="mail_refused") from error
        except aiosmtplib.SMTPResponseException as error:
            raise MailFailed(f"{where} refused a mail: {_said(error.code, error.message)}") from error
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            raise MailFailed(f"{where} cannot be used: {reason(error).rstrip('.')}. See the [mail] table.") from error

    async def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            bundle = self._settings.ca_bundle or None
            self._context = await asyncio.to_thread(ssl.create_default_context, cafile=bundle)
        return self._context


def _said(code: int, message: str) -> str:
    """What the server answered, in one line."""
    return f"{code} {' '.join(message.split())}"[:SAYS].rstrip(".") + "."
