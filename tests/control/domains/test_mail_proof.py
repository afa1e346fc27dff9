"""What proves a domain by mail, how often mail is sent, and what it says."""

from __future__ import annotations

import html.parser
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.domains.mail_proof import (
    FOR_A_WORKSPACE,
    PAUSES,
    TO_A_DOMAIN,
    TooManyMails,
    addresses,
    check_pace,
    code_digest,
    is_code,
    letter,
    link_digest,
    made,
    sends,
)
from edgeproxy.control.store import MailProof
from tests.control.store.making import DAY, NOW
from tests.control.store.test_mail_proofs import proof

KEY = b"k" * 32


def test_mail_goes_to_the_constructed_addresses_and_no_others():
    assert addresses("example.co.uk") == tuple(
        f"{part}@example.co.uk" for part in ("admin", "administrator", "webmaster", "hostmaster", "postmaster")
    )


def test_links_and_codes_are_random_and_of_their_length():
    found = [made() for _ in range(1000)]
    assert len({link for link, _ in found}) == 1000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", link) and re.fullmatch(r"[0-9]{8}", code) for link, code in found)
    assert len({code[0] for _, code in found}) == 10, "a code may begin with a zero"


def test_a_code_is_for_one_name_under_one_key_and_people_may_write_it_in_groups():
    mail = proof(code_digest=code_digest(KEY, "a.example.com", "01234567"))
    assert all(is_code(mail, KEY, text) for text in ("01234567", "0123 4567", " 0123-4567 ", "0 1 2 3 4 5 6 7"))
    assert not any(is_code(mail, KEY, text) for text in ("", "1234567", "01234568", "٠١٢٣٤٥٦٧", "\ud800"))
    assert not is_code(mail, b"o" * 32, "01234567")
    assert not is_code(proof("b.example.com", code_digest=mail.code_digest), KEY, "01234567")


@given(st.text())
def test_any_text_has_digests(text):
    assert len(link_digest(text)) == len(code_digest(KEY, "a.example.com", text)) == 32


def test_mails_for_a_name_come_more_and_more_slowly():
    at, times = NOW, list[float]()
    before: MailProof | None = None
    for _ in range(8):
        before = proof(sends=sends(before, at), sent_at=at)
        with pytest.raises(TooManyMails, match=r"admin@example\.com, postmaster@example\.com") as raised:
            check_pace(before, 0, 0, at)
        times.append(raised.value.retry_after)
        with pytest.raises(TooManyMails):
            check_pace(before, 0, 0, at + times[-1] - 0.1)
        at += times[-1]
        check_pace(before, 0, 0, at)
    assert before is not None
    assert times == [*PAUSES, *[PAUSES[-1]] * 3]
    assert sends(before, before.sent_at + DAY) == 1
    assert sends(before, before.sent_at - 1) == 1
    check_pace(before, 0, 0, before.sent_at - 1)  # that clock was ahead


def test_a_domain_and_a_workspace_have_their_limits():
    check_pace(None, TO_A_DOMAIN - 1, FOR_A_WORKSPACE - 1, NOW)
    with pytest.raises(TooManyMails, match="to this domain"):
        check_pace(None, TO_A_DOMAIN, 0, NOW)
    with pytest.raises(TooManyMails, match="for this workspace"):
        check_pace(None, 0, FOR_A_WORKSPACE, NOW)


def written(**more):
    wanted: dict[str, Any] = {
        "platform": "ve.ai",
        "link": "https://api.ve.ai/confirm/abc",
        "code": "01234567",
        "expires_at": NOW,
    }
    return letter("gallery.example.com", "example.com", "spandantest", **(wanted | more))


def test_the_mail_says_who_wants_what_and_what_to_do():
    said = written()
    assert said.subject == "May gallery.example.com be used at ve.ai?"
    for body in (said.text, said.html):
        for part in (
            "spandantest",
            "your address speaks for example.com",
            "https://api.ve.ai/confirm/abc",
            "0123 4567",
            "do nothing",
        ):
            assert part in body
        assert "2027-01-15 08:00 UTC" in body
    without = written(link="")
    assert "http" not in without.text + without.html
    assert "If that is right, enter this code" in without.text


def test_nothing_that_somebody_chose_becomes_markup():
    said = letter("<b>&.example", "<i>", "<u>", platform="<s>", link='"><script>', code="12345678", expires_at=NOW)
    tags = []

    class Tags(html.parser.HTMLParser):
        def handle_starttag(self, tag, attrs):
            tags.append(tag)

    Tags().feed(said.html)
    assert set(tags) == {"html", "body", "p", "a", "b"}
    assert tags.count("b") == 1
