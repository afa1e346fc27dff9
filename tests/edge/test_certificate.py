"""Which certificate a hostname gets, what is remembered, and what a change or a fault of the map does to it."""

import asyncio
import gc
import ssl
import time
from pathlib import Path

import msgspec
import pytest

from edgeproxy.config.structs import Allow, Api, Config, Http, Issuance, Platform, Tls
from edgeproxy.edge import tickets
from edgeproxy.edge.certificate import CHALLENGES, Certificates, Cold, Denied, Found, Missing
from edgeproxy.edge.hello import INTERNAL_ERROR, UNRECOGNIZED_NAME
from edgeproxy.errors import EdgeError, MapError
from edgeproxy.limits import Limits
from edgeproxy.published.records import Certificate, Challenge, Change, Site, Tickets
from tests import hellos
from tests.certificates import self_signed

NOW = 1_800_000_000.0
NOT_SHARED, SHARED = False, True


class FakeMap:
    """The published map as plain dicts; counts what is asked, and fails on command."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.certificates: dict[str, Certificate] = {}
        self.challenges: dict[str, Challenge] = {}
        self.secrets: Tickets | None = None
        self.broken = False
        self.asked = 0

    def _ask(self) -> None:
        self.asked += 1
        if self.broken:
            raise MapError("The map can not be read.")

    def site(self, hostname: str) -> Site | None:
        self._ask()
        return self.sites.get(hostname)

    def certificate(self, certificate_id: str) -> Certificate | None:
        self._ask()
        return self.certificates.get(certificate_id)

    def challenge(self, key: str) -> Challenge | None:
        self._ask()
        return self.challenges.get(key)

    def tickets(self) -> Tickets | None:
        self._ask()
        return self.secrets

    def serve(self, key: str, certificate_id: str, *names: str) -> None:
        """A site under `key` whose certificate covers the names (by default the key)."""
        chain, private = self_signed(*(names or (key,)))
        self.certificates[certificate_id] = Certificate(
            names=names or (key,), chain=chain, sealed_key=seal(private, f"key:{certificate_id}"), not_before=0, not_after=2e9
        )
        self.sites[key] = Site(workspace="w", certificate=certificate_id)


def seal(plain: bytes, context: str) -> bytes:
    return context.encode() + b"\0" + plain


class FakeSealer:
    """Opens what `seal` made, under the same context only."""

    def open(self, sealed: bytes, context: bytes) -> bytes:
        found, _, plain = sealed.partition(b"\0")
        if found != context:
            raise MapError("A sealed secret does not open.")
        return plain


@pytest.fixture
def published() -> FakeMap:
    return FakeMap()


def certificates(published: FakeMap, config: Config | None = None, *, share: bool = NOT_SHARED) -> Certificates:
    return Certificates(published, FakeSealer(), config or Config(), share_tickets=share)


def made(found: object, holder: Certificates, now: float = NOW) -> Found:
    assert isinstance(found, Cold)
    return holder.build(found, now)


def site_changed(*keys: str) -> list[Change]:
    return [Change(database="sites", key=key) for key in keys]


def presented(context: ssl.SSLContext, hostname: str, *, alpn: tuple[str, ...] = (), version: str = "") -> ssl.SSLObject:
    """The client's end of a handshake with a context."""
    visitor = hellos.client_context()
    if alpn:
        visitor.set_alpn_protocols(alpn)
    if version:
        visitor.minimum_version = visitor.maximum_version = getattr(ssl.TLSVersion, version)
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = visitor.wrap_bio(to_client, to_server, server_hostname=hostname)
    there = context.wrap_bio(to_server, to_client, server_side=True)
    waiting = [here, there]
    while waiting:
        for side in tuple(waiting):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            waiting.remove(side)
    return here


def leaf(*names: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(self_signed(*names)[0].decode())


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


def test_versions_and_ciphers_are_modern_ones(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    context = made(holder.find("shop.example.com", NOW), holder).context
    assert presented(context, "shop.example.com", version="TLSv1_2").version() == "TLSv1.2"
    assert presented(context, "shop.example.com").version() == "TLSv1.3"
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    for cipher in context.get_ciphers():
        assert cipher["protocol"] == "TLSv1.3" or (cipher["name"].startswith("ECDHE-") and cipher["aead"])
    assert context.options & ssl.OP_NO_COMPRESSION
    assert context.options & ssl.OP_NO_RENEGOTIATION
    strict = certificates(published, Config(tls=Tls(minimum="1.3")))
    with pytest.raises(ssl.SSLError):
        presented(made(strict.find("shop.example.com", NOW), strict).context, "shop.example.com", version="TLSv1_2")


def test_the_clients_order_of_ciphers_counts(published: FakeMap) -> None:
    published.serve("shop.example.com", "c1")
    holder = certificates(published)
    context = made(holder.find("shop.example.com", NOW), holder).context
    for first in ("ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"):
        visitor = hellos.client_context()
        visitor.maximum_version = ssl.TLSVersion.TLSv1_2
        visitor.set_ciphers(f"{first}:ECDHE+AESGCM:ECDHE+CHACHA20")
        session, _ = tickets.handshake(context, visitor, None)
        assert session is not None
        to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
        here, there = visitor.wrap_bio(to_client, to_server), context.wrap_bio(to_server, to_client, server_side=True)
        for side in (here, there, here):
            with pytest.raises(ssl.SSLWantReadError):
                side.do_handshake()
        there.do_handshake()
        assert (there.cipher() or ("",))[0] == first


def test_an_rsa_certificate_works_too(published: FakeMap) -> None:
    chain, key = self_signed("rsa.example.com", kind="rsa2048")
    published.sites["rsa.example.com"] = Site(workspace="w", certificate="r")
    published.certificates["r"] = Certificate(
        names=("rsa.example.com",), chain=chain, sealed_key=seal(key, "key:r"), not_before=0, not_after=2e9
    )
    holder = certificates(published)
    context = made(holder.find("rsa.example.com", NOW), holder).context
    for version in ("TLSv1_2", "TLSv1_3"):
        assert presented(context, "rsa.example.com", version=version).version() is not None


def challenge(published: FakeMap, hostname: str) -> None:
    chain, key = self_signed("acme", hostname)
    published.challenges[f"alpn:{hostname}"] = Challenge(
        hostname=hostname, chain=chain, sealed_key=seal(key, f"alpn:{hostname}")
    )


def test_a_pending_challenge_is_answered_with_its_own_certificate_and_protocol(published: FakeMap) -> None:
    holder = certificates(published)
    assert holder.challenge_context("shop.example.com") is None
    challenge(published, "shop.example.com")
    context = holder.challenge_context("shop.example.com")
    assert context is not None
    ca = presented(context, "shop.example.com", alpn=("acme-tls/1",))
    assert ca.selected_alpn_protocol() == "acme-tls/1"
    assert ca.getpeercert(binary_form=True) == leaf("acme", "shop.example.com")
    assert holder.challenge_context("shop.example.com") is context


def test_a_challenge_that_is_over_is_no_longer_answered(published: FakeMap) -> None:
    challenge(published, "shop.example.com")
    holder = certificates(published)
    assert holder.challenge_context("shop.example.com") is not None
    published.challenges.clear()
    holder.drop([Change(database="challenges", key="alpn:shop.example.com")])
    assert holder.challenge_context("shop.example.com") is None


def test_an_http_challenge_is_no_answer_for_tls(published: FakeMap) -> None:
    published.challenges["alpn:shop.example.com"] = Challenge(hostname="shop.example.com", token="t", key_authorization="k")
    assert certificates(published).challenge_context("shop.example.com") is None


def test_contexts_of_challenges_are_bounded(published: FakeMap) -> None:
    holder = certificates(published)
    shared = self_signed("acme")
    for number in range(CHALLENGES + 5):
        name = f"n{number}.example.com"
        published.challenges[f"alpn:{name}"] = Challenge(
            hostname=name, chain=shared[0], sealed_key=seal(shared[1], f"alpn:{name}")
        )
        assert holder.challenge_context(name) is not None
    assert len(holder._challenges) == CHALLENGES


@pytest.fixture
def sharing(shared_tickets: None, published: FakeMap) -> FakeMap:
    published.serve("*.example.com", "wild")
    put_secrets(published, int(NOW) - 2 * tickets.DAY)
    return published


def put_secrets(published: FakeMap, *starts: int) -> None:
    published.secrets = Tickets(starts=starts, secrets=tuple(seal(b"%032d" % start, f"ticket:{start}") for start in starts))


def resumes(one: Found, other: Found, version: str = "TLSv1_3") -> bool:
    visitor = hellos.client_context()
    visitor.minimum_version = visitor.maximum_version = getattr(ssl.TLSVersion, version)
    session, _ = tickets.handshake(one.context, visitor, None)
    return tickets.handshake(other.context, visitor, session)[1]


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
def test_a_session_resumes_in_another_worker_under_its_own_name_only(sharing: FakeMap, version: str) -> None:
    here, there = certificates(sharing, share=SHARED), certificates(sharing, share=SHARED)
    one = made(here.find("a.example.com", NOW), here)
    assert resumes(one, made(there.find("a.example.com", NOW), there), version)
    assert not resumes(one, made(there.find("b.example.com", NOW), there), version)


def test_a_renewed_certificate_still_resumes(sharing: FakeMap) -> None:
    holder = certificates(sharing, share=SHARED)
    one = made(holder.find("a.example.com", NOW), holder)
    sharing.serve("*.example.com", "wild2", "*.example.com", "example.com")
    holder.drop(site_changed("*.example.com"))
    assert resumes(one, made(holder.find("a.example.com", NOW), holder))


def test_keys_change_at_the_names_own_moment(sharing: FakeMap) -> None:
    start = int(NOW)
    put_secrets(sharing, start, start - 2 * tickets.DAY)
    change = tickets.changes_at(start, "a.example.com")
    early, late = certificates(sharing, share=SHARED), certificates(sharing, share=SHARED)
    before = made(early.find("a.example.com", change - 1), early, change - 1)
    after = made(late.find("a.example.com", change), late, change)
    assert not resumes(before, after)
    assert early.find("a.example.com", change) is before  # the same context, with other keys now
    assert resumes(before, after)


def test_new_secrets_in_the_map_are_taken_up(sharing: FakeMap) -> None:
    holder, other = certificates(sharing, share=SHARED), certificates(sharing, share=SHARED)
    found = made(holder.find("a.example.com", NOW), holder)
    put_secrets(sharing, int(NOW) - tickets.DAY)
    holder.drop([Change(database="tickets", key="current")])
    assert holder.find("a.example.com", NOW) is found
    assert resumes(found, made(other.find("a.example.com", NOW), other))


def test_without_secrets_sessions_resume_in_their_worker_and_secrets_are_looked_for_again(sharing: FakeMap) -> None:
    sharing.secrets = None
    here, there = certificates(sharing, share=SHARED), certificates(sharing, share=SHARED)
    one = made(here.find("a.example.com", NOW), here)
    other = made(there.find("a.example.com", NOW), there)
    assert resumes(one, one)
    assert not resumes(one, other)
    put_secrets(sharing, int(NOW) - 2 * tickets.DAY)
    assert here.find("a.example.com", NOW + 3600) is one
    assert there.find("a.example.com", NOW + 3600) is other
    assert resumes(one, other)


def test_secrets_that_do_not_open_are_reported_and_nobody_is_turned_away(sharing: FakeMap) -> None:
    sharing.secrets = Tickets(starts=(5,), secrets=(seal(bytes(32), "ticket:6"),))
    faults: list[EdgeError] = []
    holder = Certificates(sharing, FakeSealer(), Config(), share_tickets=True, on_fault=faults.append)
    found = made(holder.find("a.example.com", NOW), holder)
    assert resumes(found, found)
    assert faults


def test_no_descriptor_stays_open_and_no_key_in_a_file(
    published: FakeMap, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    published.serve("*.example.com", "wild")
    holder = certificates(published)
    made(holder.find("warm.example.com", NOW), holder)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for number in range(20):
        made(holder.find(f"n{number}.example.com", NOW), holder)
    published.certificates["wild"] = msgspec.structs.replace(published.certificates["wild"], chain=b"")
    with pytest.raises(MapError):
        made(holder.find("fails.example.com", NOW), holder)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert not list(tmp_path.iterdir())


async def test_making_a_context_leaves_the_loop_free(published: FakeMap) -> None:
    published.serve("*.example.com", "wild")
    holder = certificates(published)
    colds = [holder.find(f"n{number}.example.com", NOW) for number in range(20)]
    waiting = [asyncio.ensure_future(holder.obtain_context(cold, NOW)) for cold in colds if isinstance(cold, Cold)]
    turns, begun = 0, time.monotonic()
    while not all(flight.done() for flight in waiting):
        await asyncio.sleep(0)
        turns += 1
    assert turns > 20
    assert time.monotonic() - begun < 60
    await asyncio.gather(*waiting)
    assert len(holder) == 20
    holder.close()
