"""Hostname to site: exact, platform's, wildcard; remembered, forgotten, and the last answer when the map is silent."""

from __future__ import annotations

import msgspec
import pytest

from edgeproxy.config.pages import Pages
from edgeproxy.config.platform import Api, Origin, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Tls
from edgeproxy.edge.route import Routes
from edgeproxy.errors import MapError
from edgeproxy.limits import Limits
from edgeproxy.published.records import Change, Site


class Map(dict[str, Site]):
    """Sites by key; counts reads, and fails when told to."""

    reads = 0
    broken = False

    def site(self, hostname: str) -> Site | None:
        self.reads += 1
        if self.broken:
            raise MapError("broken")
        return self.get(hostname)


CONFIG = Config(
    platform=Platform(name="ve.test", cname_target="domain.ve.test", reserved=("www",)),
    api=Api(hostname="api.ve.test"),
    origin=Origin(url="http://app:3000"),
)


def routes(sites: dict[str, Site], **changes: object) -> tuple[Routes, Map, list[str]]:
    counted: list[str] = []
    source = Map(sites)
    return Routes(msgspec.structs.replace(CONFIG, **changes), source.site, counted.append), source, counted


def workspace(found: Routes, host: str) -> str | None:
    route = found.find(host)
    return None if route is None else route.workspace


def test_the_exact_name_goes_before_the_wildcard():
    found, _, _ = routes({"a.test": Site(workspace="exact"), "*.test": Site(workspace="wild")})
    assert workspace(found, "a.test") == "exact"
    assert workspace(found, "b.test") == "wild"
    assert workspace(found, "c.b.test") is None


def test_a_route_tells_target_and_header():
    found, _, _ = routes({"a.test": Site(workspace="w", origin="https://own.example")})
    route = found.find("a.test")
    assert route is not None
    assert str(route.target) == "https://own.example"
    assert route.workspace_line == b"workspace-id: w\r\n"


def test_what_is_answered_instead_of_an_origin_is_found_with_the_route():
    sites = {
        "a.test": Site(workspace="w", redirect_to="b.test"),
        "*.test": Site(workspace="w", redirect_to="www.test"),
        "b.test": Site(workspace="w", maintenance=True),
        "c.test": Site(workspace="w", new=True),
    }
    found, _, _ = routes(sites)
    told = {host: found.find(host) for host in ("a.test", "b.test", "c.test", "other.test", "www.test")}
    instead = {host: None if route is None or route.instead is None else route.instead.reason for host, route in told.items()}
    assert instead == {
        "a.test": "redirected to b.test",
        "b.test": "the domain is in maintenance",
        "c.test": None,
        "other.test": "redirected to www.test",
        "www.test": None,
    }
    assert [host for host, route in told.items() if route is not None and route.new] == ["c.test"]
    found, _, _ = routes(sites, pages=Pages(setup_until_active=True))
    route = found.find("c.test")
    assert route is not None
    assert route.instead is not None
    assert route.instead.page == "setup"


@pytest.mark.parametrize("name", ["admin.sock", "api.sock", "../edgeproxy/admin.sock"])
def test_the_edges_own_sockets_are_nobodys_origin_whatever_the_map_says(name):
    found, _, _ = routes({"a.test": Site(workspace="w", origin=f"unix:/run/edgeproxy/{name}")})
    route = found.find("a.test")
    assert route is not None
    assert str(route.target) == "http://app:3000"


def test_a_route_knows_the_name_that_it_was_found_under():
    found, _, _ = routes({"a.test": Site(workspace="a"), "*.a.test": Site(workspace="w")})
    for host in ("a.test", "x.a.test", "y.a.test", "shop.ve.test", "nobody.test"):
        found.find(host)
    names = ["a.test", "x.a.test", "y.a.test", "shop.ve.test", "nobody.test", "never.seen.test"]
    assert [found.name_of(host) for host in names] == ["a.test", "*.a.test", "*.a.test", "", "", ""]


def test_workspaces_of_the_platform_need_no_site():
    found, _, _ = routes({"*.ve.test": Site(source="edge", certificate="x")})
    assert workspace(found, "acme.ve.test") == "acme"
    assert workspace(found, "www.ve.test") is None
    assert workspace(found, "domain.ve.test") is None
    assert workspace(found, "a.b.ve.test") is None
    assert workspace(found, "ve.test") is None


def test_a_registered_name_under_the_platform_is_its_workspaces():
    found, _, _ = routes({"acme.ve.test": Site(workspace="other")})
    assert workspace(found, "acme.ve.test") == "other"


def test_the_apis_name_is_a_route_of_its_own():
    found, _, _ = routes({"api.ve.test": Site(workspace="evil")})
    route = found.find("api.ve.test")
    assert route is not None
    assert route.api
    assert not route.known
    assert str(route.target) == "unix:/run/edgeproxy/api.sock"


def test_who_is_unknown_is_rejected_or_forwarded_as_configured():
    found, _, _ = routes({"pattern.test": Site(source="pattern")})
    assert found.find("pattern.test") is None
    found, _, _ = routes({"pattern.test": Site(source="pattern")}, origin=Origin(on_unknown="forward"))
    route = found.find("pattern.test")
    assert route is not None
    assert route.workspace_line == b""


def test_answers_are_remembered_until_the_map_says_that_they_changed():
    found, source, counted = routes({"a.test": Site(workspace="one")})
    assert [workspace(found, "a.test") for _ in range(3)] == ["one"] * 3
    assert (source.reads, found.hits, counted) == (1, 2, ["miss"])
    source["a.test"] = Site(workspace="two")
    found.drop([Change(database="certificates", key="a.test")])
    assert workspace(found, "a.test") == "one"
    found.drop([Change(database="sites", key="a.test")])
    assert workspace(found, "a.test") == "two"


def test_a_changed_wildcard_drops_what_is_beneath_it_denials_included():
    found, source, _ = routes({})
    assert workspace(found, "a.x.test") is None
    source["*.x.test"] = Site(workspace="w")
    found.drop([Change(database="sites", key="*.x.test")])
    assert workspace(found, "a.x.test") == "w"


def test_of_many_changed_wildcards_each_drops_what_is_right_beneath_it():
    found, source, _ = routes({f"{name}.test": Site(workspace="one") for name in ("*.x", "*.y", "*.z", "*.b.x")})
    hosts = "a.x.test", "a.y.test", "a.z.test", "a.b.x.test"
    assert [workspace(found, host) for host in hosts] == ["one"] * 4
    source.reads = 0
    found.drop([Change(database="sites", key=f"*.{name}.test") for name in "xy"])
    assert [workspace(found, host) for host in hosts] == ["one"] * 4
    assert source.reads == 4, "the name and its wildcard, of two names"


def test_a_map_that_cannot_be_read_leaves_the_last_answer():
    found, source, counted = routes({"a.test": Site(workspace="one")}, origin=Origin(on_error="reject"))
    assert workspace(found, "a.test") == "one"
    source.broken = True
    found.drop(None)
    assert workspace(found, "a.test") == "one"
    with pytest.raises(MapError):
        found.find("b.test")
    assert counted == ["miss", "error", "error"]


def test_the_api_is_there_when_the_map_cannot_be_read():
    found, source, _ = routes({}, tls=Tls(hsts="1d"), origin=Origin(on_error="reject"))
    source.broken = True
    route = found.find("api.ve.test")
    assert route is not None
    assert (route.api, route.dressing) == (True, None)


def test_without_a_last_answer_the_origin_decides_if_so_configured():
    found, source, _ = routes({}, origin=Origin(on_error="forward"))
    source.broken = True
    route = found.find("b.test")
    assert route is not None
    assert route.workspace_line == b""


def test_a_site_whose_origin_is_unreadable_goes_to_the_platforms():
    found, _, _ = routes({"a.test": Site(workspace="w", origin="gopher://x")})
    route = found.find("a.test")
    assert route is not None
    assert str(route.target) == "http://app:3000"


def test_an_origin_that_the_gate_named_is_watched_when_dialled():
    found, _, _ = routes({"a.test": Site(workspace="w", origin="http://x.example", source="gate", fresh_until=5.0)})
    route = found.find("a.test")
    assert route is not None
    assert route.target.restricted
    assert route.fresh_until == 5.0


def test_routing_by_subdomain():
    found, _, _ = routes({"a.test": Site(workspace="Acme")}, origin=Origin(url="https://app.example", routing="subdomain"))
    route = found.find("a.test")
    assert route is not None
    assert route.target.host == "acme.app.example"


def test_memory_is_bounded():
    found, _, _ = routes({}, limits=Limits(sites=10))
    for number in range(100):
        found.find(f"{number}.a.test")
    assert len(found._known) <= 10


def test_what_is_forgotten_is_freed_bit_by_bit():
    found, _, _ = routes({}, limits=Limits(sites=10))
    for number in range(11):
        found.find(f"{number}.a.test")
    assert (len(found), sum(map(len, found._forgotten))) == (1, 10)
    found.find("11.a.test")
    assert sum(map(len, found._forgotten)) == 8, "two with each that is read"
    found.free(5)
    assert sum(map(len, found._forgotten)) == 3
    found.free(5)
    assert not found._forgotten
    for number in range(1000):
        found.find(f"{number}.b.test")
        assert sum(map(len, found._forgotten)) <= 10


def test_a_route_that_is_forgotten_for_want_of_room_is_looked_up_again_by_who_keeps_it():
    found, _, _ = routes({"a.test": Site(workspace="one")}, limits=Limits(sites=3))
    kept = found.find("a.test")
    assert kept is not None
    assert kept.epoch == found.epoch
    for number in range(3):
        found.find(f"{number}.b.test")
    found.drop([Change(database="sites", key="a.test")])
    assert kept.epoch != found.epoch
    again = found.find("a.test")
    assert again is not None
    assert again.epoch == found.epoch
