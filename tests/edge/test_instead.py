"""What is answered instead of a domain's origin: which of several counts, and with which words."""

import msgspec
import pytest

from edgeproxy.config.pages import Page, Pages
from edgeproxy.edge.instead import TEXTS, Instead, instead_of, notices
from edgeproxy.edge.respond import page
from edgeproxy.published.records import Site

EVERYTHING = Site(workspace="w", redirect_to="b.test", maintenance=True, suspended=True, new=True)


def test_the_most_serious_counts() -> None:
    told = []
    site = EVERYTHING
    for field, nothing in (("suspended", False), ("maintenance", False), ("redirect_to", ""), ("new", False)):
        found = instead_of(site, "a.test", setup=True)
        assert found is not None
        told.append(found.page or found.redirect_to)
        site = msgspec.structs.replace(site, **{field: nothing})
    assert told == ["suspended", "maintenance", "b.test", "setup"]
    assert instead_of(site, "a.test", setup=True) is None


def test_a_new_domain_is_served_unless_the_operator_wants_it_otherwise() -> None:
    assert instead_of(Site(workspace="w", new=True), "a.test", setup=False) is None


def test_a_wildcard_serves_the_name_that_it_redirects_to() -> None:
    site = Site(workspace="w", redirect_to="www.b.test")
    assert instead_of(site, "www.b.test", setup=False) is None
    assert instead_of(site, "b.b.test", setup=False) == Instead(redirect_to="www.b.test", reason="redirected to www.b.test")


def test_every_page_of_the_configuration_has_words() -> None:
    names = {field.name for field in msgspec.structs.fields(Pages) if isinstance(field.default, Page)}
    assert names == set(TEXTS)


@pytest.mark.parametrize("name", TEXTS)
def test_a_page_is_the_operators_where_there_is_one_and_has_the_same_status_and_fields(name: str) -> None:
    own = notices(msgspec.structs.replace(Pages(), **{name: Page("/p", "<b>{{host}}")}))[name]
    built_in = notices(Pages())[name]
    assert built_in.template is None
    answers = [page(each.text.status, b"", "id-1", "a.test", each.text, each.template) for each in (own, built_in)]
    assert answers[0][1] == b"<b>a.test"
    assert TEXTS[name].title.encode() in answers[1][1]
    differing = {b"content-length", b"content-security-policy"}
    kept = [[field for field in fields if field[0] not in differing] for fields, _ in answers]
    assert kept[0] == kept[1]


def test_what_will_be_over_soon_says_when_to_ask_again_and_what_will_not_be_does_not() -> None:
    assert {name: (text.status, text.retryable, text.retry_after > 0) for name, text in TEXTS.items()} == {
        "maintenance": (503, True, True),
        "suspended": (403, False, False),
        "setup": (503, True, True),
    }
