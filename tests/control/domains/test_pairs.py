"""An apex and its www, and where redirects lead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.domains.pairs import HOPS_MAX, RedirectCheck, partner_of
from edgeproxy.control.issuance.registered import registered_domain
from edgeproxy.errors import InvalidName
from edgeproxy.model import wildcard_of


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("example.com", "www.example.com"),
        ("example.co.uk", "www.example.co.uk"),
        ("xn--bcher-kva.example", "www.xn--bcher-kva.example"),
        ("customer.github.io", "www.customer.github.io"),
    ],
)
def test_an_apex_and_its_www_are_a_pair(one: str, other: str) -> None:
    assert partner_of(one, registered_domain) == other
    assert partner_of(other, registered_domain) == one


@pytest.mark.parametrize("name", ["gallery.example.com", "www.gallery.example.com", "*.example.com", "a.co.uk.example.com"])
def test_other_names_have_no_partner(name: str) -> None:
    with pytest.raises(InvalidName, match=r"Register it alone") as raised:
        partner_of(name, registered_domain)
    assert raised.value.code == "no_pair"


Rows = dict[str, tuple[str, str]]
"""Hostname as registered → workspace, where it redirects."""


def follow(rows: Rows, hostname: str, target: str, workspace: str = "w") -> list[str]:
    """The names that were asked about."""
    check, asked = RedirectCheck(hostname, workspace, target), list[str]()
    while check.name:
        asked.append(check.name)
        found = next((name for name in (check.name, wildcard_of(check.name)) if name in rows), "")
        check.found(found, *rows.get(found, ("", "")))
        assert len(asked) <= HOPS_MAX + 1
    return asked


def refusal(rows: Rows, hostname: str, target: str) -> str:
    with pytest.raises(InvalidName) as raised:
        follow(rows, hostname, target)
    assert raised.value.code == "invalid_redirect"
    return raised.value.detail


def test_a_redirect_to_a_domain_of_the_same_workspace_is_good() -> None:
    assert follow({"a.test": ("w", ""), "b.test": ("w", "")}, "a.test", "b.test") == ["b.test"]
    assert follow({"a.test": ("w", ""), "*.b.test": ("w", "")}, "a.test", "x.b.test") == ["x.b.test"]


def test_whose_the_target_is_otherwise_is_not_told() -> None:
    nobodys = refusal({"a.test": ("w", "")}, "a.test", "b.test")
    another = refusal({"a.test": ("w", ""), "b.test": ("x", "")}, "a.test", "b.test")
    assert nobodys == another
    assert nobodys == "a.test cannot redirect to b.test: b.test is not a domain of its workspace. Register it first."
    rows = {"a.test": ("w", ""), "*.b.test": ("w", ""), "x.b.test": ("x", "")}
    assert "not a domain of its workspace" in refusal(rows, "a.test", "x.b.test")  # its own registration goes first


@pytest.mark.parametrize(
    "target", ["*.b.test", "b.test/x", "https://b.test", "b.test:1", "B.test", "10.0.0.1", "b test", "b.test\r\nx: y", "b"]
)
def test_a_visitor_needs_a_name_to_go_to(target: str) -> None:
    assert "a visitor needs a name to go to" in refusal({}, "a.test", target)


def test_nothing_redirects_to_itself_or_round() -> None:
    assert refusal({}, "a.test", "a.test") == "a.test cannot redirect to itself."
    rows = {"a.test": ("w", ""), "b.test": ("w", "c.test"), "c.test": ("w", "a.test")}
    assert "for ever, a.test → b.test → c.test → a.test." in refusal(rows, "a.test", "b.test")
    old = {"b.test": ("w", "c.test"), "c.test": ("w", "b.test"), "a.test": ("w", "")}
    assert "for ever, a.test → b.test → c.test → b.test." in refusal(old, "a.test", "b.test")


def test_a_wildcard_may_redirect_to_a_name_that_it_covers_and_not_round_through_another() -> None:
    rows = {"*.a.test": ("w", ""), "b.test": ("w", "x.a.test")}
    assert follow(rows, "*.a.test", "www.a.test") == ["www.a.test"]
    assert "for ever" in refusal(rows, "*.a.test", "b.test")
    served = {"*.a.test": ("w", "www.a.test"), "b.test": ("w", "")}
    assert follow(served, "b.test", "x.a.test") == ["x.a.test", "www.a.test"]


def test_a_way_has_a_bounded_number_of_hops() -> None:
    rows = {f"n{number}.test": ("w", f"n{number + 1}.test") for number in range(6)} | {"n6.test": ("w", "")}
    assert follow(rows, "a.test", f"n{6 - HOPS_MAX + 1}.test")[-1] == "n6.test"
    told = refusal(rows, "a.test", f"n{6 - HOPS_MAX}.test")
    assert f"sent on more than {HOPS_MAX} times" in told


@given(
    rows=st.dictionaries(
        st.sampled_from(["a.test", "b.test", "c.test", "*.test", "d.e.test", "*.e.test"]),
        st.tuples(st.sampled_from("wwx"), st.sampled_from(["", "a.test", "b.test", "c.test", "d.e.test", "f.e.test"])),
    ),
    hostname=st.sampled_from(["a.test", "*.test", "*.e.test"]),
    target=st.sampled_from(["a.test", "b.test", "c.test", "d.e.test", "f.e.test"]),
)
def test_who_follows_a_redirect_that_is_good_comes_to_an_end_within_its_workspace(
    rows: Rows, hostname: str, target: str
) -> None:
    rows[hostname] = ("w", "")
    try:
        follow(rows, hostname, target)
    except InvalidName:
        return
    rows[hostname] = ("w", target)
    name, hops = target, 1
    while True:
        decides = next(each for each in (name, wildcard_of(name)) if each in rows)
        workspace, onward = rows[decides]
        assert workspace == "w"
        if not onward or onward == name:
            break
        name, hops = onward, hops + 1
    assert hops <= HOPS_MAX
