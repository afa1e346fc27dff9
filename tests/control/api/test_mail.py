"""/api/v1/admin/mail."""

import msgspec
import pytest

from edgeproxy.control.mail import Mailer
from tests.control.api.conftest import problem_of
from tests.mailbox import Mailbox

MAIL = "/api/v1/admin/mail"


def configure(world, **values: object) -> None:
    wanted = {"server": "127.0.0.1", "security": "none", "sender": "Edge <edge@example.com>"} | values
    mail = msgspec.structs.replace(world.context.config.mail, **wanted)
    world.context.config = msgspec.structs.replace(world.context.config, mail=mail)
    world.context.plane.mailer = Mailer(world.context.config)


async def test_a_mail_is_sent_by_the_server_that_is_configured(world):
    with Mailbox() as mailbox:
        configure(world, port=mailbox.port)
        answer = await world.client.post(MAIL, json={"to": "ops@example.com"})
        assert (answer.status_code, answer.json()) == (200, {"to": "ops@example.com", "server": "127.0.0.1"})
        assert mailbox.next().recipients == ["ops@example.com"]


async def test_without_a_server_it_is_told_what_to_write(world):
    document = problem_of(await world.client.post(MAIL, json={"to": "ops@example.com"}), 409, "mail_not_set")
    assert "mail.server is not set" in document["detail"]
    assert (document["fault"], document["retryable"]) == ("operator", False)


@pytest.mark.parametrize(
    "to", ["", "ops", "a@b\r\nBcc: c@d", "a@b,c@d", "<a@b>", "ä@b.example", "a b@c.example", 5, None, "x" * 400]
)
async def test_what_is_no_address_is_refused(world, to):
    problem_of(await world.client.post(MAIL, json={"to": to}), 422, "invalid_request")
