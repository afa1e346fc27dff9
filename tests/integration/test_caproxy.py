"""The fault-injecting proxy itself, so that tests with it can be believed."""

import asyncio
import itertools
import json
import ssl

import httpx2
import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder
from cryptography.x509.verification import Store as TrustStore

from edgeproxy.control.issuance.acme.problems import CaRefused
from tests.integration import cafaults as fault
from tests.integration.caexchange import Request
from tests.integration.caproxy import CaProxy
from tests.integration.issuing import Issuing
from tests.integration.newerca import ari_id
from tests.integration.servers import Pebble, require

NAME = "a.example.com"


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


@pytest.fixture
async def client(ca):
    trust = ssl.create_default_context(cafile=ca.ca_bundle)
    async with httpx2.AsyncClient(verify=trust, trust_env=False, timeout=30) as client:
        yield client


async def test_everything_goes_through_the_proxy_and_is_noted(ca, issuing):
    assert (await issuing.obtain(NAME)).ok
    kinds = [kind for kind, _ in itertools.groupby(ca.kinds())]  # a slow CA is asked again
    assert kinds[:5] == ["newOrder", "authorization", "challenge", "authorization", "finalize"]
    assert set(kinds[5:]) == {"order", "certificate"}
    assert ca.made == (1, 0)
    assert all(request.reached and request.status < 300 for request in ca.requests)
    order = ca.of("newOrder")[0]
    assert (order.names, order.account) == ([NAME], (await issuing.store.account(ca.directory)).url)
    chain = x509.load_pem_x509_certificates((await issuing.store.current_certificate(NAME)).chain)
    verifier = PolicyBuilder().store(TrustStore(x509.load_pem_x509_certificates(await ca.roots())))
    assert verifier.build_server_verifier(x509.DNSName(NAME)).verify(chain[0], chain[1:])


async def test_planned_faults_come_one_by_one_and_before_standing_ones(ca, client):
    ca.always("directory", fault.busy())
    ca.plan("directory", fault.problem("rateLimited", 429, retry_after=7), fault.slow(0.05))
    ca.plan("newNonce", fault.malformed())
    limited = await client.get(ca.directory)
    assert (limited.status_code, limited.headers["retry-after"], ca.requests[-1].problem) == (429, "7", "rateLimited")
    assert limited.headers["replay-nonce"]
    assert (await client.get(ca.directory)).status_code == 200
    assert (await client.get(ca.directory)).status_code == 503
    assert [request.reached for request in ca.requests] == [False, True, False]
    assert ca.planned == 1
    ca.well()
    assert (await client.get(ca.directory)).json()["meta"]


async def test_resets_end_the_connection_before_or_after_the_ca_heard(ca, client):
    for after in (False, True):
        ca.plan("directory", fault.reset(after=after))
        with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
            await client.get(ca.directory)
        assert (ca.requests[-1].reached, ca.requests[-1].status) == (after, 0)


async def test_a_ca_that_is_down_refuses_connections_until_it_comes_back(ca, client):
    await client.get(ca.directory)
    await ca.go_down()
    with pytest.raises(httpx2.TransportError):
        await client.get(ca.directory)
    with pytest.raises(httpx2.ConnectError):
        await client.get(ca.directory)
    await ca.come_back()
    assert (await client.get(ca.directory)).status_code == 200


async def test_its_urls_can_move(ca, client):
    before = (await client.get(ca.directory)).json()["newOrder"]
    ca.move()
    after = (await client.get(ca.directory)).json()["newNonce"]
    assert after == f"{ca.url}/nonce-plz"
    assert not before.startswith(ca.url)
    assert (await client.head(after)).headers["replay-nonce"]
    assert (await client.post(before)).status_code == 404


async def test_its_clock_can_be_off(ca, issuing):
    ca.skew = 600
    await issuing.obtain(NAME)
    leaf = await issuing.leaf(NAME)
    assert leaf.not_valid_before_utc.timestamp() == pytest.approx(issuing.time() + 600, abs=60)


def test_rates_are_counted_over_any_stretch_of_time():
    ca = CaProxy.__new__(CaProxy)
    ca.requests = [Request(at, "order", "GET", "/", "", "", b"") for at in (0.0, 0.9, 1.0, 1.8, 5.0)]
    assert [ca.most_within(seconds) for seconds in (0.5, 0.95, 1.0, 2.0, 9.0)] == [2, 3, 3, 4, 5]
    assert ca.most_within(1.0, "newOrder") == 0


async def test_renewal_information_is_set_for_each_certificate(ca, client, issuing):
    await issuing.obtain(NAME)
    chain = (await issuing.store.current_certificate(NAME)).chain
    base = (await client.get(ca.directory)).json()["renewalInfo"]
    default = (await client.get(f"{base}/{ari_id(chain)}")).json()["suggestedWindow"]
    assert default["start"] < default["end"]
    ca.newer.suggest(chain, 1_800_000_000, 1_800_000_600, retry_after=60)
    answer = await client.get(f"{base}/{ari_id(chain)}")
    assert answer.json()["suggestedWindow"] == {"start": "2027-01-15T08:00:00Z", "end": "2027-01-15T08:10:00Z"}
    assert answer.headers["retry-after"] == "60"
    assert (await client.get(f"{base}/AAAA.BBBB")).status_code == 404
    ca.newer.renewal_info = False
    assert "renewalInfo" not in (await client.get(ca.directory)).json()


async def order(issuing, ca, names, **fields):
    account = await issuing.issuer._accounts.get()
    identifiers = [{"type": "dns", "value": name} for name in names]
    url = (await issuing.issuer._transport.directory()).new_order
    try:
        return await issuing.issuer._transport.post(url, {"identifiers": identifiers} | fields, account.key, account.kid)
    except CaRefused as error:
        return error


async def test_what_an_order_replaces_is_checked_and_recorded(ca, issuing):
    await issuing.obtain(NAME)
    chain = (await issuing.store.current_certificate(NAME)).chain
    assert (await order(issuing, ca, [NAME], replaces="AAAA.BBBB")).status == 404
    assert (await order(issuing, ca, ["other.example.com"], replaces=ari_id(chain))).status == 400
    made = await order(issuing, ca, [NAME, "b.example.com"], replaces=ari_id(chain))
    assert made.status == 201
    assert [replacing.names for replacing in ca.newer.replacing(chain)] == [(NAME, "b.example.com")]
    again = await order(issuing, ca, [NAME], replaces=ari_id(chain))
    assert (again.status, again.problem) == (409, "alreadyReplaced")
    ca.newer.replacing(chain)[0].failed = True
    assert (await order(issuing, ca, [NAME], replaces=ari_id(chain))).status == 201


async def test_profiles_are_offered_and_shape_the_certificate(ca, tmp_path):
    ca.newer.profiles["shortlived"] = "https://ca.example/shortlived"
    ca.newer.lives["shortlived"] = 160 * 3600
    async with Issuing(tmp_path, ca, profile="shortlived") as issuing:
        await issuing.obtain(NAME)
        leaf = await issuing.leaf(NAME)
        assert (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds() == 160 * 3600
        assert [(made.profile, made.names) for made in ca.newer.orders.values()] == [("shortlived", (NAME,))]
        assert (await order(issuing, ca, [NAME], profile="tlsserver")).problem == "invalidProfile"


@pytest.mark.parametrize("right", [True, False], ids=["right", "wrong"])
async def test_dns_persist_is_offered_in_the_place_of_dns_and_validated(tmp_path, right):
    require("pebble", "pebble-challtestsrv")
    async with Pebble(tmp_path) as pebble, CaProxy(tmp_path, pebble) as ca, Issuing(tmp_path, ca) as issuing:
        ca.newer.persist = ("ca.example",)
        account = await issuing.issuer._accounts.get()
        ca.newer.persistent[NAME] = [f"ca.example; accounturi={account.kid if right else 'https://ca.example/acct/77'}"]

        async def ask(url, payload=None):
            return json.loads((await issuing.issuer._transport.post(url, payload, account.key, account.kid)).body)

        made = await order(issuing, ca, [NAME])
        url = json.loads(made.body)["authorizations"][0]
        offered = {challenge["type"]: challenge for challenge in (await ask(url))["challenges"]}
        assert "dns-01" not in offered
        chosen = offered["dns-persist-01"]
        assert chosen["issuer-domain-names"] == ["ca.example"]
        assert "token" not in chosen
        await ask(chosen["url"], {})
        async with asyncio.timeout(60):
            while (seen := await ask(url))["status"] == "pending":
                await asyncio.sleep(0.02)
        assert seen["status"] == ("valid" if right else "invalid")
        assert [challenge["type"] for challenge in seen["challenges"]] == ["dns-persist-01"]


async def test_an_answer_can_be_held_back(ca, client):
    gate = asyncio.Event()
    ca.plan("directory", fault.held(gate))
    asked = asyncio.create_task(client.get(ca.directory))
    async with asyncio.timeout(60):
        while not (ca.under_way and ca.requests[0].reached):
            await asyncio.sleep(0.005)
    assert not asked.done()
    gate.set()
    assert (await asked).status_code == 200
