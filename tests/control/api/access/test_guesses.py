"""Whoever tries tokens that nobody has."""

from edgeproxy.control.api.access import guesses as module
from edgeproxy.control.api.access.guesses import AT_ONCE, RATE, Guesses

GOOD, BAD = b"g" * 32, b"b" * 32
GUESSER, NEIGHBOUR, OTHER = "192.0.2.1", "192.0.2.200", "198.51.100.1"


def guessing() -> Guesses:
    guesses = Guesses(b"secret")
    for _ in range(AT_ONCE):
        assert guesses.may_try(GUESSER, BAD, 1.0)
        guesses.wrong(GUESSER, BAD, 1.0)
    return guesses


def test_a_network_that_guesses_is_not_listened_to_until_time_has_passed():
    guesses = guessing()
    assert not guesses.may_try(GUESSER, BAD, 1.0)
    assert not guesses.may_try(NEIGHBOUR, GOOD, 1.0)
    assert guesses.may_try(OTHER, BAD, 1.0)
    assert guesses.may_try(GUESSER, BAD, 1.1 + 1 / RATE)


def test_tokens_that_were_right_are_let_in_from_there_all_the_same():
    guesses = guessing()
    guesses.right(GOOD)
    assert guesses.may_try(NEIGHBOUR, GOOD, 1.0)
    guesses.wrong(OTHER, GOOD, 1.0)  # it was revoked
    assert not guesses.may_try(NEIGHBOUR, GOOD, 1.0)


def test_right_tokens_cost_no_tries_however_many_there_are(monkeypatch):
    monkeypatch.setattr(module, "KNOWN", 10)
    guesses = Guesses(b"secret")
    for number in range(10 * AT_ONCE):
        digest = bytes((number,)) * 32
        assert guesses.may_try(GUESSER, digest, 1.0)
        guesses.right(digest)
    assert len(guesses._known) == 10


def test_whoever_has_no_address_is_one_network():
    guesses = Guesses(b"secret")
    for _ in range(AT_ONCE):
        guesses.wrong("local", BAD, 1.0)
    assert not guesses.may_try("elsewhere", BAD, 1.0)
