"""`edgeproxy mail …`"""

import json

from edgeproxy.cli import main

SENT = {"to": "ops@example.com", "server": "mail.example.com"}


def test_a_mail_is_sent_to_try_it(cli, edge):
    edge.answers["POST /api/v1/admin/mail"] = (200, SENT)
    status, out, _ = cli("mail", "test", "ops@example.com")
    assert status == main.DONE
    assert out.startswith("mail.example.com took a mail to ops@example.com.")
    assert edge.asked[0][2] == {"to": "ops@example.com"}
    assert json.loads(cli("mail", "test", "ops@example.com", "--json")[1]) == SENT


def test_what_went_wrong_is_told(cli, edge):
    edge.answers["POST /api/v1/admin/mail"] = (502, {"detail": "The mail server does not answer.", "code": "mail_failed"})
    status, _, err = cli("mail", "test", "ops@example.com")
    assert (status, "does not answer" in err) == (main.REFUSED, True)
