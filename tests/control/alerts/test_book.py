"""Each condition is told once, and once more when it is over."""

from __future__ import annotations

from edgeproxy.control.alerts.book import AGAIN_SECONDS, FORGET_SECONDS, OPEN, OVER_SECONDS, PAUSE_SECONDS, SHOWN, Book
from edgeproxy.control.alerts.conditions import WINDOW, Condition, ended_by
from edgeproxy.control.store import Alert

NOW = 1_800_000_000.0
FAILED = Condition("issuance", "a.test", "The CA said no.")
QUEUE = Condition("queue", "", "1000 names wait.")


def tell(book: Book, now: float) -> list[str]:
    """What is said, and got through."""
    titles = []
    for message in book.due(now):
        titles.append(message.title)
        book.said(message, now)
    return titles


def after(book: Book) -> Book:
    """The book of the next process."""
    rows = {(each.kind, each.subject): each for each in book.changes()}
    return Book(rows.values(), NOW)


def test_a_condition_is_told_once_with_what_to_do_and_once_when_it_is_over() -> None:
    book = Book((), NOW)
    book.begin(FAILED, NOW)
    (message,) = book.due(NOW)
    assert message.title == "No certificate could be obtained for a.test"
    assert message.body.startswith("a.test: The CA said no.\n\nWhat to do: `edgeproxy doctor HOST`")
    book.said(message, NOW)
    book.begin(FAILED, NOW + 10)
    assert book.due(NOW + 400) == []
    book.end(ended_by("certificate.issued", "a.test"), NOW + 500)
    (over,) = book.due(NOW + 500)
    assert (over.title, over.body, over.over) == ("Over: no certificate could be obtained for a.test", "a.test: over.", True)
    book.said(over, NOW + 500)
    assert book.due(NOW + 5_000) == []


def test_what_got_to_nobody_is_said_again() -> None:
    book = Book((), NOW)
    book.begin(FAILED, NOW)
    assert len(book.due(NOW)) == len(book.due(NOW + 15)) == 1


def test_what_was_over_before_anybody_was_told_is_not_told() -> None:
    book = Book((), NOW)
    book.begin(FAILED, NOW)
    book.end([FAILED.key], NOW + 1)
    assert book.due(NOW + 2) == []


def test_many_are_told_together_and_not_more_often_than_every_few_minutes() -> None:
    book = Book((), NOW)
    for number in range(SHOWN + 5):
        book.begin(Condition("issuance", f"{number:02}.test"), NOW)
    (message,) = book.due(NOW)
    assert message.title == f"No certificate could be obtained for 00.test, and {SHOWN + 4} more"
    assert "And 5 more." in message.body
    book.said(message, NOW)
    book.begin(Condition("issuance", "x.test"), NOW + 1)
    book.begin(Condition("issuance", "y.test"), NOW + 2)
    assert book.due(NOW + PAUSE_SECONDS - 1) == []
    assert tell(book, NOW + PAUSE_SECONDS) == ["No certificate could be obtained for x.test, and 1 more"]


def test_what_comes_back_within_an_hour_is_not_told_again_until_then() -> None:
    book = Book((), NOW)
    book.begin(FAILED, NOW)
    tell(book, NOW)
    book.end([FAILED.key], NOW + 10)
    tell(book, NOW + 10)
    book.begin(FAILED, NOW + 20)
    assert tell(book, NOW + AGAIN_SECONDS - 1) == []
    assert tell(book, NOW + AGAIN_SECONDS) == ["No certificate could be obtained for a.test"]


def test_another_process_does_not_tell_again_and_tells_when_it_is_over() -> None:
    book = Book((), NOW)
    book.begin(FAILED, NOW)
    tell(book, NOW)
    book = after(book)
    book.begin(FAILED, NOW)  # read once more, from the outbox
    assert tell(book, NOW + 400) == []
    book.end([FAILED.key], NOW - 5)  # an older event
    assert tell(book, NOW + 500) == []
    book.end([FAILED.key], NOW + 600)
    assert tell(book, NOW + 600) == ["Over: no certificate could be obtained for a.test"]
    book = after(book)
    book.begin(FAILED, NOW)
    assert tell(book, NOW + 5_000) == []


def test_what_is_measured_is_over_when_it_was_well_for_a_while() -> None:
    book = Book((), NOW - WINDOW)
    book.measure([QUEUE], NOW)
    assert tell(book, NOW) == ["Many names wait for a certificate"]
    book.measure([], NOW + 15)
    book.measure([QUEUE], NOW + 30)
    book.measure([], NOW + 45)
    assert tell(book, NOW + 45 + OVER_SECONDS - 1) == []
    book.measure([], NOW + 45 + OVER_SECONDS)
    assert tell(book, NOW + 45 + OVER_SECONDS) == ["Over: many names wait for a certificate"]


def test_a_process_that_has_just_begun_says_of_nothing_that_it_is_over() -> None:
    book = Book([Alert(kind="shed", subject="", since=NOW - 60, told_at=NOW - 60)], NOW)
    for seconds in range(0, int(WINDOW), 15):
        book.measure([], NOW + seconds)
        assert tell(book, NOW + seconds) == []
    book.measure([], NOW + WINDOW)
    assert tell(book, NOW + WINDOW) == ["Over: more connections come than are let in"]


def test_a_nearer_end_takes_the_place_of_a_farther_one_and_either_is_told_again_next_time() -> None:
    book = Book((), NOW)
    book.begin(Condition("expiry_30", "a.test"), NOW)
    tell(book, NOW)
    book.begin(Condition("expiry_7", "a.test"), NOW + 23 * 86_400)
    assert tell(book, NOW + 23 * 86_400) == ["The certificate of a.test ends within 7 days"]
    book.end(ended_by("certificate.renewed", "a.test"), NOW + 24 * 86_400)
    assert tell(book, NOW + 24 * 86_400) == ["Over: the certificate of a.test ends within 7 days"]
    book.forget(NOW + 60 * 86_400)
    book.begin(Condition("expiry_30", "a.test"), NOW + 60 * 86_400)
    assert tell(book, NOW + 60 * 86_400) == ["The certificate of a.test ends within 30 days"]


def test_what_nothing_ever_ends_is_forgotten_and_may_be_told_anew() -> None:
    book = Book((), NOW)
    book.begin(FAILED, NOW)
    tell(book, NOW)
    later = NOW + FORGET_SECONDS + 1
    assert tell(book, later) == []
    book.forget(later)
    book.begin(FAILED, later + 5)
    assert tell(book, later + 5) == ["No certificate could be obtained for a.test"]


def test_there_is_a_bound() -> None:
    book = Book((), NOW)
    for number in range(OPEN + 10):
        book.begin(Condition("issuance", f"{number}.test"), NOW)
    (message,) = book.due(NOW)
    assert len(message.keys) == OPEN


def test_kinds_that_another_version_had_are_left_alone() -> None:
    book = Book([Alert(kind="weather", subject="", since=NOW, told_at=NOW)], NOW)
    assert book.due(NOW + 10) == []
