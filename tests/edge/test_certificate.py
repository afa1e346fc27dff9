"""Which certificate a hostname gets, what is remembered, and what a change or a fault of the map does to it."""

import asyncio
import gc
import ssl
import threading

import msgspec
import pytest

from edgeproxy.config.issuance import Allow, Issuance
from edgeproxy.config.platform import Api, Platform
from edgeproxy.config.structs import Config
from edgeproxy.config.visitors import Http, Tls
from edgeproxy.edge import tickets
from edgeproxy.edge.certificate import Certificates, Cold, Denied, Found, Missing
from edgeproxy.edge.hello import INTERNAL_ERROR, UNRECOGNIZED_NAME
from edgeproxy.errors import EdgeError, MapError
from edgeproxy.limits import Limits
from edgeproxy.published.records import Certificate, Challenge, Change, Site, Tickets
from tests import hellos
from tests.certificates import self_signed
from tests.edge.fakemap import (
    NOT_SHARED,
    NOW,
    SHARED,
    FakeMap,
    FakeSealer,
    certificates,
    leaf,
    made,
    presented,
    seal,
    site_changed,
)


def test_an_exact_name_has_its_certificate_and_is_then_remembered(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    found = made(holder.find("shop.example.com", NOW), holder)
    assert (found.certificate_id, found.names) == ("c1", ("shop.example.com",))
    assert presented(found.context, "shop.example.com").getpeercert(binary_form=True) == leaf("shop.example.com")
    asked = published.asked
    assert holder.find("shop.example.com", NOW) is found
    assert published.asked == asked


def test_the_exact_name_goes_before_the_wildcard(published: FakeMap) -> None:
    published.serve("*.example.com", "wild")
    published.serve("shop.example.com", "own")
    holder = certificates(published)
    assert made(holder.find("shop.example.com", NOW), holder).certificate_id == "own"
    assert made(holder.find("other.example.com", NOW), holder).certificate_id == "wild"


def test_a_wildcard_covers_one_label_only(published: FakeMap) -> None:
    published.serve("*.example.com", "wild")
    holder = certificates(published)
    assert isinstance(holder.find("a.b.example.com", NOW), Denied)
    assert isinstance(holder.find("example.com", NOW), Denied)


def test_names_under_one_wildcard_have_contexts_of_their_own(published: FakeMap) -> None:
    published.serve("*.example.com", "wild")
    holder = certificates(published)
    one, two = (made(holder.find(name, NOW), holder) for name in ("one.example.com", "two.example.com"))
    assert one.context is not two.context


def test_a_site_may_use_a_certificate_of_a_wider_name(published: FakeMap) -> None:
    published.serve("*.example.com", "wild")
    published.sites["shop.example.com"] = Site(workspace="w", certificate="wild")
    holder = certificates(published)
    assert made(holder.find("shop.example.com", NOW), holder).names == ("*.example.com",)


def test_an_unknown_name_is_denied_and_the_map_is_not_asked_again(published: FakeMap) -> None:
    holder = certificates(published)
    denied = holder.find("stranger.example.com", NOW)
    assert isinstance(denied, Denied)
    assert denied.alert == UNRECOGNIZED_NAME
    asked = published.asked
    assert isinstance(holder.find("stranger.example.com", NOW + 1e6), Denied)
    assert published.asked == asked


@pytest.mark.parametrize(
    "config",
    [
        Config(issuance=Issuance(allow=Allow(gate="http://127.0.0.1:1/gate"))),
        Config(issuance=Issuance(allow=Allow(patterns=("*.customers.example", "*.example.com")))),
        Config(api=Api(hostname="new.example.com")),
        Config(tls=Tls(default_hostname="new.example.com")),
        Config(platform=Platform(cname_target="new.example.com")),
    ],
)
def test_a_name_that_may_be_admitted_is_missing_until_the_controller_says_no(published: FakeMap, config: Config) -> None:
    holder = certificates(published, config)
    missing = holder.find("new.example.com", NOW)
    assert isinstance(missing, Missing)
    assert missing.site is None
    holder.refuse(missing.key, NOW + 60, "the gate says no")
    denied = holder.find("new.example.com", NOW + 59)
    assert isinstance(denied, Denied)
    assert (denied.alert, denied.reason) == (UNRECOGNIZED_NAME, "the gate says no")
    assert isinstance(holder.find("new.example.com", NOW + 60), Missing)


def test_nothing_is_missing_where_certificates_are_not_obtained_on_demand(published: FakeMap) -> None:
    config = Config(issuance=Issuance(on_demand=False, allow=Allow(gate="http://127.0.0.1:1/gate")))
    published.sites["shop.example.com"] = Site(workspace="w")
    holder = certificates(published, config)
    stranger, shop = holder.find("stranger.example.com", NOW), holder.find("shop.example.com", NOW)
    assert isinstance(stranger, Denied)
    assert isinstance(shop, Denied)
    assert (stranger.alert, shop.alert) == (UNRECOGNIZED_NAME, INTERNAL_ERROR)
    published.serve("shop.example.com", "c1")
    assert isinstance(holder.find("shop.example.com", NOW), Cold)


def test_a_site_without_certificate_is_missing(published: FakeMap) -> None:
    published.sites["shop.example.com"] = site = Site(workspace="w")
    missing = certificates(published).find("shop.example.com", NOW)
    assert isinstance(missing, Missing)
    assert (missing.key, missing.site) == ("shop.example.com", site)


def test_a_certificate_that_is_gone_or_does_not_cover_the_name_is_missing(published: FakeMap) -> None:
    published.serve("other.example.com", "c1")
    published.sites["shop.example.com"] = Site(workspace="w", certificate="c1")
    published.sites["gone.example.com"] = Site(workspace="w", certificate="c2")
    holder = certificates(published)
    assert isinstance(holder.find("shop.example.com", NOW), Missing)
    assert isinstance(holder.find("gone.example.com", NOW), Missing)


def test_a_failure_for_a_wildcard_answers_for_every_name_beneath_it(published: FakeMap) -> None:
    published.sites["*.example.com"] = Site(certificate="", source="edge")
    holder = certificates(published)
    missing = holder.find("one.example.com", NOW)
    assert isinstance(missing, Missing)
    assert missing.key == "*.example.com"
    holder.refuse(missing.key, NOW + 60, "the CA is down", alert=INTERNAL_ERROR)
    denied = holder.find("two.example.com", NOW)
    assert isinstance(denied, Denied)
    assert denied.alert == INTERNAL_ERROR
    published.serve("*.example.com", "wild")
    holder.drop(site_changed("*.example.com"))
    assert isinstance(holder.find("two.example.com", NOW), Cold)


def test_remembered_refusals_are_bounded(published: FakeMap) -> None:
    holder = certificates(published, Config(limits=Limits(negative_names=10)))
    for number in range(1000):
        holder.find(f"n{number}.example.com", NOW)
    assert len(holder._refused) == 10
    asked = published.asked
    holder.find("n999.example.com", NOW)
    assert published.asked == asked


def test_contexts_are_bounded_and_the_least_recently_used_goes_first(published: FakeMap) -> None:
    published.serve("*.example.com", "wild")
    holder = certificates(published, Config(limits=Limits(contexts=2)))
    for name in ("a", "b", "a", "c"):
        found = holder.find(f"{name}.example.com", NOW)
        if isinstance(found, Cold):
            holder.build(found, NOW)
    assert len(holder) == 2
    assert isinstance(holder.find("a.example.com", NOW), Found)
    assert isinstance(holder.find("b.example.com", NOW), Cold)


def test_pinned_names_keep_their_contexts(published: FakeMap) -> None:
    published.serve("*.example.com", "wild")
    config = Config(limits=Limits(contexts=2), api=Api(hostname="api.example.com"), tls=Tls(default_hostname="d.example.com"))
    holder = certificates(published, config)
    for name in ("api", "a", "d", "b", "c"):
        made(holder.find(f"{name}.example.com", NOW), holder)
    assert len(holder) == 2
    assert isinstance(holder.find("api.example.com", NOW), Found)
    assert isinstance(holder.find("d.example.com", NOW), Found)


def test_a_renewed_certificate_is_served_from_the_change_on(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    first = made(holder.find("shop.example.com", NOW), holder)
    published.serve("shop.example.com", "c2")
    assert holder.find("shop.example.com", NOW) is first
    holder.drop(site_changed("shop.example.com"))
    second = made(holder.find("shop.example.com", NOW), holder)
    assert second.certificate_id == "c2"
    assert holder.find("shop.example.com", NOW) is second


@pytest.mark.parametrize("everything", [False, True])
def test_a_removed_site_is_denied_from_the_change_on(published: FakeMap, everything: bool) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    made(holder.find("shop.example.com", NOW), holder)
    del published.sites["shop.example.com"]
    holder.drop(None if everything else site_changed("shop.example.com"))
    assert isinstance(holder.find("shop.example.com", NOW), Denied)
    assert len(holder) == 0


def test_an_added_site_is_no_longer_denied(published: FakeMap) -> None:
    holder = certificates(published)
    assert isinstance(holder.find("shop.example.com", NOW), Denied)
    published.serve("shop.example.com", "c1")
    holder.drop(site_changed("shop.example.com"))
    assert isinstance(holder.find("shop.example.com", NOW), Cold)


def test_a_change_that_keeps_the_certificate_keeps_the_context(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    first = made(holder.find("shop.example.com", NOW), holder)
    published.sites["shop.example.com"] = Site(workspace="another", certificate="c1")
    for changes in (site_changed("shop.example.com"), None):
        holder.drop(changes)
        assert holder.find("shop.example.com", NOW) is first


def test_a_changed_wildcard_concerns_every_name_beneath_it_and_no_other(published: FakeMap) -> None:
    published.serve("*.example.com", "wild")
    published.serve("shop.example.net", "c1")
    holder = certificates(published)
    kept = made(holder.find("shop.example.net", NOW), holder)
    made(holder.find("a.example.com", NOW), holder)
    assert isinstance(holder.find("x.example.org", NOW), Denied)
    del published.sites["*.example.com"]
    published.serve("*.example.org", "wild2")
    published.broken = True
    holder.drop(site_changed("*.example.com", "*.example.org"))
    assert holder.find("shop.example.net", NOW) is kept  # without asking
    published.broken = False
    assert isinstance(holder.find("a.example.com", NOW), Denied)
    assert isinstance(holder.find("x.example.org", NOW), Cold)


def test_a_map_that_can_not_be_read_gives_the_last_known_answer_and_denies_nobody(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    found = made(holder.find("shop.example.com", NOW), holder)
    published.broken = True
    holder.drop(None)
    assert holder.find("shop.example.com", NOW) is found
    with pytest.raises(MapError):
        holder.find("new.example.com", NOW)
    published.broken = False
    published.serve("new.example.com", "c2")
    assert isinstance(holder.find("new.example.com", NOW), Cold)


@pytest.mark.parametrize(
    "damage",
    [
        {"sealed_key": seal(self_signed("shop.example.com")[1], "key:another")},
        {"sealed_key": seal(self_signed("other.example.com")[1], "key:c1")},
        {"sealed_key": seal(b"", "key:c1")},
        {"chain": b"no PEM"},
        {"chain": b""},
        {"sealed_key": seal(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIGj\n-----END ENCRYPTED PRIVATE KEY-----\n", "key:c1")},
    ],
)
def test_a_certificate_that_can_not_be_loaded_is_a_fault_of_the_map_and_not_tried_each_time(
    published: FakeMap, damage: dict[str, bytes]
) -> None:
    published.serve("shop.example.com", "c1")
    published.certificates["c1"] = msgspec.structs.replace(published.certificates["c1"], **damage)
    holder = certificates(published)
    with pytest.raises(MapError) as caught:
        made(holder.find("shop.example.com", NOW), holder)
    assert "PRIVATE" not in caught.value.detail
    denied = holder.find("shop.example.com", NOW + 1)
    assert isinstance(denied, Denied)
    assert denied.alert == INTERNAL_ERROR
    assert isinstance(holder.find("shop.example.com", NOW + 60), Cold)


def test_a_new_certificate_that_can_not_be_loaded_leaves_the_one_before(published: FakeMap) -> None:
    faults: list[EdgeError] = []
    published.serve("shop.example.com", "c1")
    holder = Certificates(published, FakeSealer(), Config(), share_tickets=NOT_SHARED, on_fault=faults.append)
    first = made(holder.find("shop.example.com", NOW), holder)
    published.serve("shop.example.com", "c2")
    published.certificates["c2"] = msgspec.structs.replace(published.certificates["c2"], chain=b"")
    holder.drop(site_changed("shop.example.com"))
    assert made(holder.find("shop.example.com", NOW), holder) is first
    assert len(faults) == 1
    assert holder.find("shop.example.com", NOW + 1) is first
    assert isinstance(holder.find("shop.example.com", NOW + 60), Cold)


async def test_one_context_is_made_however_many_wait(published: FakeMap, monkeypatch: pytest.MonkeyPatch) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    count = 0
    real = Certificates.context_for

    def counted(self: Certificates, certificate_id: str, certificate: Certificate) -> ssl.SSLContext:
        nonlocal count
        count += 1
        return real(self, certificate_id, certificate)

    monkeypatch.setattr(Certificates, "context_for", counted)
    colds = [holder.find("shop.example.com", NOW) for _ in range(50)]
    waiting = [asyncio.ensure_future(holder.obtain_context(cold, NOW)) for cold in colds if isinstance(cold, Cold)]
    assert len(waiting) == 50
    await asyncio.sleep(0)
    waiting[0].cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert len(set(results[1:])) == 1
    assert count == 1
    assert holder.find("shop.example.com", NOW) is results[1]
    holder.close()


async def test_every_waiter_learns_that_a_certificate_can_not_be_loaded(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    published.certificates["c1"] = msgspec.structs.replace(published.certificates["c1"], chain=b"")
    holder = certificates(published)
    cold = holder.find("shop.example.com", NOW)
    assert isinstance(cold, Cold)
    results = await asyncio.gather(*(holder.obtain_context(cold, NOW) for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, MapError) for result in results)
    abandoned = asyncio.ensure_future(holder.obtain_context(cold, NOW))
    await asyncio.sleep(0)
    abandoned.cancel()
    while holder._flights:
        await asyncio.sleep(0.01)
    gc.collect()
    holder.close()


async def test_a_change_during_the_making_is_noticed_by_the_next_visitor(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    cold = holder.find("shop.example.com", NOW)
    assert isinstance(cold, Cold)
    making = asyncio.ensure_future(holder.obtain_context(cold, NOW))
    await asyncio.sleep(0)
    del published.sites["shop.example.com"]
    holder.drop(site_changed("shop.example.com"))
    await making
    assert isinstance(holder.find("shop.example.com", NOW), Denied)
    holder.close()


def test_http2_is_offered_only_where_configured(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    for config, agreed in ((Config(), "h2"), (Config(http=Http(h2=False)), "http/1.1")):
        holder = certificates(published, config)
        found = made(holder.find("shop.example.com", NOW), holder)
        assert presented(found.context, "shop.example.com", alpn=("h2", "http/1.1")).selected_alpn_protocol() == agreed


def test_the_lowest_version_is_what_is_configured(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    for config, lowest in ((Config(), ssl.TLSVersion.TLSv1_2), (Config(tls=Tls(minimum="1.3")), ssl.TLSVersion.TLSv1_3)):
        holder = certificates(published, config)
        assert made(holder.find("shop.example.com", NOW), holder).context.minimum_version == lowest


def test_a_challenge_that_changes_is_looked_up_anew_and_only_that(published: FakeMap) -> None:
    chain, key = self_signed("acme")
    for name in ("shop.example.com", "other.example.com"):
        published.challenges[f"alpn:{name}"] = Challenge(hostname=name, chain=chain, sealed_key=seal(key, f"alpn:{name}"))
    holder = certificates(published)
    shop, other = (holder.challenges.context(name) for name in ("shop.example.com", "other.example.com"))
    holder.drop([Change(database="challenges", key="alpn:shop.example.com")])
    assert holder.challenges.context("shop.example.com") not in {shop, None}
    assert holder.challenges.context("other.example.com") is other
    holder.drop(None)
    assert holder.challenges.context("other.example.com") not in {other, None}


async def test_making_a_context_leaves_the_loop_free(published: FakeMap, monkeypatch: pytest.MonkeyPatch) -> None:
    published.serve("*.example.com", "wild")
    holder = certificates(published)
    go, makers, real = threading.Event(), set[str](), Certificates.context_for

    def noted(self: Certificates, certificate_id: str, certificate: Certificate) -> ssl.SSLContext:
        makers.add(threading.current_thread().name.partition("_")[0])
        go.wait(60)
        return real(self, certificate_id, certificate)

    monkeypatch.setattr(Certificates, "context_for", noted)
    colds = [holder.find(f"n{number}.example.com", NOW) for number in range(20)]
    waiting = [asyncio.ensure_future(holder.obtain_context(cold, NOW)) for cold in colds if isinstance(cold, Cold)]
    await asyncio.sleep(0)  # they are given to the thread, which waits for the loop to go on before it makes the first
    assert not any(flight.done() for flight in waiting)
    go.set()
    await asyncio.gather(*waiting)
    assert makers == {"contexts"}
    assert len(holder) == 20
    holder.close()


def served_twice(published: FakeMap, *, share: bool = NOT_SHARED) -> tuple[Certificates, Found]:
    published.serve("shop.example.com", "c1")
    published.accompany("c1", "r1")
    holder = certificates(published, share=share)
    return holder, made(holder.find("shop.example.com", NOW), holder)


def test_a_companion_is_found_made_once_and_remembered(published: FakeMap) -> None:
    holder, found = served_twice(published)
    beside = made(holder.find_companion(found, NOW), holder)
    assert (beside.certificate_id, beside.names) == ("r1", ("shop.example.com",))
    expected = leaf("shop.example.com", kind="rsa2048")
    assert presented(beside.context, "shop.example.com").getpeercert(binary_form=True) == expected
    asked = published.asked
    assert holder.find_companion(found, NOW) is beside
    assert published.asked == asked
    assert holder.find("shop.example.com", NOW) is found


def test_a_name_without_a_companion_stays_with_its_certificate(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    found = made(holder.find("shop.example.com", NOW), holder)
    assert holder.find_companion(found, NOW) is found


def test_a_companion_that_comes_later_is_found_once_the_map_tells_of_it(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published, Config(tls=Tls(second_key_type="rsa2048")))
    found = made(holder.find("shop.example.com", NOW), holder)
    published.accompany("c1", "r1")
    holder.drop([Change(database="certificates", key="c1")])
    assert holder.find("shop.example.com", NOW) is found
    assert made(holder.find_companion(found, NOW), holder).certificate_id == "r1"
    published.accompany("c1", "r2")
    holder.drop([Change(database="certificates", key="c1")])
    assert holder.find("shop.example.com", NOW) is found
    assert made(holder.find_companion(found, NOW), holder).certificate_id == "r2"


def test_a_companion_that_cannot_be_loaded_leaves_the_name_its_certificate(published: FakeMap) -> None:
    holder, found = served_twice(published)
    beside = published.certificates["c1"].companion
    assert beside is not None
    broken = msgspec.structs.replace(beside, sealed_key=b"no")
    published.certificates["c1"] = msgspec.structs.replace(published.certificates["c1"], companion=broken)
    assert made(holder.find_companion(found, NOW), holder) is found
    assert holder.find_companion(found, NOW) is found
    assert holder.find("shop.example.com", NOW) is found
    published.accompany("c1", "r1")
    assert isinstance(holder.find_companion(found, NOW + 11), Cold)


def test_a_map_that_fails_leaves_the_name_its_certificate(published: FakeMap) -> None:
    holder, found = served_twice(published)
    published.broken = True
    assert holder.find_companion(found, NOW) is found


def test_tickets_of_one_kind_of_key_do_not_resume_under_the_other(published: FakeMap) -> None:
    published.secrets = Tickets(secrets=(seal(bytes(32), "ticket:0"),), starts=(0,))
    holder, found = served_twice(published, share=SHARED)
    beside = made(holder.find_companion(found, NOW), holder)
    visitor = hellos.client_context()
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        visitor.minimum_version = visitor.maximum_version = version
        for here, there in ((found, beside), (beside, found)):
            session, _ = tickets.handshake(here.context, visitor, None)
            assert tickets.handshake(here.context, visitor, session)[1]
            session, _ = tickets.handshake(here.context, visitor, None)
            assert not tickets.handshake(there.context, visitor, session)[1]


def test_companions_have_a_bound_of_their_own(published: FakeMap) -> None:
    holder = certificates(published, Config(limits=Limits(contexts=16)))
    for number in range(5):
        name = f"shop{number}.example.com"
        published.serve(name, f"c{number}")
        published.accompany(f"c{number}", f"r{number}")
        made(holder.find_companion(made(holder.find(name, NOW), holder), NOW), holder)
    assert len(holder) == 5 + 2


def test_a_removed_name_loses_its_companion_too(published: FakeMap) -> None:
    holder, found = served_twice(published)
    made(holder.find_companion(found, NOW), holder)
    del published.sites["shop.example.com"]
    holder.drop(site_changed("shop.example.com"))
    assert isinstance(holder.find("shop.example.com", NOW), Denied)
    assert len(holder) == 0
