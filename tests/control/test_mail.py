"""Mail over real connections: in clear, with STARTTLS, with TLS; refused, slow, gone."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import pytest

from edgeproxy.config.mail import Mail
from edgeproxy.config.structs import Config
from edgeproxy.control import mail as module
from edgeproxy.control.mail import Mailer, MailFailed
from edgeproxy.units import Duration
from tests.authorities import Authority, key_text, new_key, pem
from tests.mailbox import Mailbox
from tests.ports import free_port

TO = ["admin@example.com", "postmaster@example.com"]


def mailer(port: int, **values: Any) -> Mailer:
    wanted: dict[str, Any] = {"server": "127.0.0.1", "port": port, "security": "none", "timeout": Duration(20)}
    return Mailer(Config(mail=Mail(**(wanted | {"sender": "Müller & Co <edge@example.org>"} | values))))


async def send(mailer: Mailer, to: list[str] = TO) -> None:
    await mailer.send(to, "Hello", "Plain text: grün.\n", "<p>HTML</p>")


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority("Mail")


@pytest.fixture
def context(authority: Authority, tmp_path: Path) -> ssl.SSLContext:
    """Of a server named localhost."""
    key = new_key()
    path = tmp_path / "server.pem"
    path.write_text(pem(authority.sign("localhost", key=key)) + key_text(key))
    (tmp_path / "roots.pem").write_text(pem(authority.certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


async def test_a_mail_arrives_as_it_was_meant():
    with Mailbox() as mailbox:
        await send(mailer(mailbox.port))
        mail = mailbox.next()
    assert (mail.sender, mail.recipients, mail.encrypted) == ("edge@example.org", TO, False)
    message = mail.message
    assert message["From"].addresses[0].display_name == "Müller & Co"
    assert (message["To"], message["Subject"], message["Auto-Submitted"]) == (", ".join(TO), "Hello", "auto-generated")
    assert message["Message-ID"].endswith("@example.org>")
    assert message["Date"].endswith(" +0000")
    parts = {part.get_content_type(): part.get_content().replace("\r\n", "\n") for part in message.iter_parts()}
    assert parts == {"text/plain": "Plain text: grün.\n", "text/html": "<p>HTML</p>\n"}


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_it_is_encrypted_and_signed_in_where_that_is_set(security, context, tmp_path):
    with Mailbox(context=context, tls=security == "tls", users={"edge": "s3cret"}) as mailbox:
        values = {"server": "localhost", "security": security, "ca_bundle": str(tmp_path / "roots.pem")}
        await send(mailer(mailbox.port, **values, username="edge", password="s3cret"))
        mail = mailbox.next()
        assert (mail.encrypted, mail.user) == (True, "edge")
        with pytest.raises(MailFailed, match=r"does not let this edge in: 535 .* See mail\.username") as raised:
            await send(mailer(mailbox.port, **values, username="edge", password="wr0ng"))
    assert "wr0ng" not in raised.value.detail


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_server_that_nobody_vouches_for_gets_no_mail_and_no_password(security, context):
    with Mailbox(context=context, tls=security == "tls", users={"edge": "s3cret"}) as mailbox:
        with pytest.raises(MailFailed, match="its TLS certificate is not trusted"):
            await send(mailer(mailbox.port, server="localhost", security=security, username="edge", password="s3cret"))
        assert mailbox.received.empty()


async def test_a_server_without_starttls_gets_nothing_in_clear():
    with Mailbox(users={"edge": "s3cret"}) as mailbox:
        with pytest.raises(MailFailed, match="STARTTLS"):
            await send(mailer(mailbox.port, security="starttls", username="edge", password="s3cret"))
        assert mailbox.received.empty()


async def test_one_address_that_is_taken_is_enough_and_none_is_a_failure():
    with Mailbox(refuse=lambda to: "" if to.startswith("admin@") else "550 5.1.1 nobody here") as mailbox:
        await send(mailer(mailbox.port))
        assert mailbox.next().recipients == TO[:1]
        with pytest.raises(
            MailFailed, match=r"for none of these addresses: postmaster@example\.com: 550 5\.1\.1 nobody"
        ) as raised:
            await send(mailer(mailbox.port), TO[1:])
    assert raised.value.code == "mail_refused"


async def test_a_server_that_is_gone_or_refuses_or_is_slow_is_told_in_a_sentence():
    port = free_port()
    with pytest.raises(MailFailed, match=f"The mail server 127.0.0.1:{port} cannot be used: connection refused"):
        await send(mailer(port))
    with Mailbox(greeting="554 5.3.2 not today") as mailbox, pytest.raises(MailFailed, match=r"554 5\.3\.2 not today"):
        await send(mailer(mailbox.port))
    with Mailbox(slow=0.2) as mailbox, pytest.raises(MailFailed, match="did not take a mail within 500ms"):
        await send(mailer(mailbox.port, timeout=Duration(0.5)))  # each answer is in time, the whole is not


async def test_only_so_many_wait(monkeypatch):
    monkeypatch.setattr(module, "QUEUE", 2)
    with Mailbox(slow=0.1) as mailbox:
        one = mailer(mailbox.port)
        sending = [asyncio.ensure_future(send(one)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(MailFailed, match="2 mails wait"):
            await send(one)
        await asyncio.gather(*sending)
        await send(one)


async def test_without_a_server_nothing_is_sent():
    unset = Mailer(Config())
    assert not unset.is_set
    with pytest.raises(MailFailed, match=r"mail\.server is not set"):
        await send(unset)
