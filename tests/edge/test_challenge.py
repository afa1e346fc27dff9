"""What a CA is answered that asks over TLS whether a name is ours."""

from __future__ import annotations

import pytest

from edgeproxy.edge.challenge import CHALLENGES, Challenges
from edgeproxy.errors import MapError
from edgeproxy.published.records import Challenge
from tests.certificates import self_signed
from tests.edge.fakemap import FakeMap, FakeSealer, leaf, presented, seal

NAME = "shop.example.com"


@pytest.fixture
def challenges(published: FakeMap) -> Challenges:
    return Challenges(published, FakeSealer())


def pending(published: FakeMap, hostname: str, *, context: str = "", identity: tuple[str, ...] = ()) -> None:
    chain, key = self_signed(*(identity or ("acme", hostname)))
    sealed = seal(key, context or f"alpn:{hostname}")
    published.challenges[f"alpn:{hostname}"] = Challenge(hostname=hostname, chain=chain, sealed_key=sealed)


def test_a_pending_challenge_is_answered_with_its_own_certificate_and_protocol(
    published: FakeMap, challenges: Challenges
) -> None:
    assert challenges.context(NAME) is None
    pending(published, NAME)
    context = challenges.context(NAME)
    assert context is not None
    ca = presented(context, NAME, alpn=("acme-tls/1",))
    assert ca.selected_alpn_protocol() == "acme-tls/1"
    assert ca.getpeercert(binary_form=True) == leaf("acme", NAME)
    asked = published.asked
    assert challenges.context(NAME) is context
    assert published.asked == asked


@pytest.mark.parametrize("changed", [f"alpn:{NAME}", None])
def test_a_challenge_that_is_over_is_no_longer_answered(
    published: FakeMap, challenges: Challenges, changed: str | None
) -> None:
    pending(published, NAME)
    assert challenges.context(NAME) is not None
    published.challenges.clear()
    challenges.drop(changed)
    assert challenges.context(NAME) is None


def test_anothers_end_leaves_a_challenge(published: FakeMap, challenges: Challenges) -> None:
    pending(published, NAME)
    context = challenges.context(NAME)
    published.challenges.clear()
    challenges.drop("alpn:other.example.com")
    challenges.drop("http:unknown/token")
    assert challenges.context(NAME) is context


def test_an_http_challenge_is_no_answer_for_tls(published: FakeMap, challenges: Challenges) -> None:
    published.challenges[f"alpn:{NAME}"] = Challenge(hostname=NAME, token="t", key_authorization="k")
    assert challenges.context(NAME) is None


def test_a_key_that_does_not_open_is_a_fault(published: FakeMap, challenges: Challenges) -> None:
    pending(published, NAME, context="alpn:other.example.com")
    with pytest.raises(MapError):
        challenges.context(NAME)


def test_a_map_that_can_not_be_read_leaves_the_answers_already_known(published: FakeMap, challenges: Challenges) -> None:
    pending(published, NAME)
    context = challenges.context(NAME)
    published.broken = True
    assert challenges.context(NAME) is context
    with pytest.raises(MapError):
        challenges.context("other.example.com")


def test_contexts_are_bounded_and_the_oldest_goes_first(published: FakeMap, challenges: Challenges) -> None:
    names = [f"n{number}.example.com" for number in range(CHALLENGES + 5)]
    for name in names:
        pending(published, name, identity=("acme",))
        assert challenges.context(name) is not None
    assert len(challenges) == CHALLENGES
    asked = published.asked
    challenges.context(names[5])
    assert published.asked == asked
    challenges.context(names[4])
    assert published.asked == asked + 1
