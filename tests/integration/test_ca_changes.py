"""A CA whose answers are not what they ought to be, and one that changes: orders, certificates, clock, addresses, terms."""

import asyncio

import pytest

from edgeproxy.control.issuance.acme.account import REPLACED_SECONDS
from edgeproxy.control.issuance.renewal import DAY
from tests.integration import cafaults as fault
from tests.integration.issuing import Issuing

NAME = "a.example.com"
NAMES = [f"n{number}.example.com" for number in range(5)]


@pytest.fixture(scope="module")
def anyio_backend():
    return "asyncio"


# Orders and authorizations


async def test_an_order_that_becomes_invalid_is_replaced_when_the_name_may_be_tried_again(ca, issuing):
    for kind in ("finalize", "order"):
        ca.always(kind, fault.edited(fault.invalid))
    outcome = await issuing.obtain(NAME)
    ca.well()
    assert not outcome.ok
    assert outcome.detail == f"The CA's order for {NAME} is invalid; another one is made when it is tried again."
    assert 55 <= await issuing.waits(NAME) <= 70
    await issuing.obtain(NAME)
    assert ca.made == (1, 0), "not at once"
    await issuing.time.sleep(70)
    assert (await issuing.obtain(NAME)).ok
    assert ca.made == (2, 0)


async def test_an_order_that_says_why_it_is_invalid_is_told_in_plain_words(ca, issuing):
    error = {"type": fault.ERROR + "caa", "detail": "CAA record for example.com prevents issuance"}
    for kind in ("finalize", "order"):
        ca.always(kind, fault.edited(lambda order: fault.invalid(order) | {"error": error}))
    outcome = await issuing.obtain(NAME)
    assert f"A CAA record of {NAME} forbids this CA to issue." in outcome.detail


async def test_an_authorization_that_stays_pending_is_one_order_for_as_long_as_it_lasts(ca, issuing):
    ca.always("challenge", fault.ignored())
    began = issuing.time()
    outcome = await issuing.obtain(NAME)
    assert outcome.detail == f"The CA did not validate {NAME} within 120 s; it is tried again."
    assert issuing.time() - began < 130
    await issuing.pass_by(3_600, every=120)
    tries = [request.at - began for request in ca.of("challenge")]
    first, second, third = tries
    assert 170 < second - first < 400, "a minute after it was given up"
    assert 700 < third - second < 1_000, "ten minutes after it was given up again"
    assert ca.count("authorization") < 3 * 45
    ca.well()
    await issuing.pass_by(6_600, every=600)
    assert await issuing.has(NAME)
    assert ca.made == (1, 0)


@pytest.mark.parametrize("kind", ["newOrder", "finalize"])
async def test_an_answer_that_is_not_json_costs_no_second_order(ca, issuing, kind):
    ca.plan(kind, fault.malformed())
    assert (await issuing.obtain(NAME)).detail == ""
    assert ca.made == (1, 0)


@pytest.mark.parametrize("body", [b'{"status": "val', b"<html>", b"", b"[]", b'{"status": 7}', b"[" * 10_000, b"\xff\xfe"])
async def test_what_is_no_answer_at_all_is_told_and_tried_again(ca, issuing, body):
    ca.plan("authorization", fault.malformed(body))
    outcome = await issuing.obtain(NAME)
    assert outcome.detail.startswith("The CA's answer cannot be understood (Authorization:")
    await issuing.pass_by(120)
    assert await issuing.has(NAME)
    assert ca.made == (1, 0)


async def test_a_refusal_without_a_problem_document_is_told_with_its_status(ca, issuing):
    ca.plan("newOrder", fault.answer(403, b"<html>Blocked by our firewall"))
    outcome = await issuing.obtain(NAME)
    assert "HTTP status 403" in outcome.detail


# Certificates

UNFIT = {
    "wrong issuer": (fault.chain(broken=True), "the certificates of its chain do not follow one from another"),
    "another name": (fault.chain(names=("other.example.com",)), f"its certificate does not cover {NAME}"),
    "another key": (fault.chain(other_key=True), "its certificate is for another key"),
    "expired": (fault.chain(life=3_600, ahead=-7_200), "has expired already; look at this machine's clock"),
    "no chain": (fault.malformed(b"<html>"), "is not a PEM certificate chain"),
}


@pytest.mark.parametrize("case", UNFIT)
async def test_a_certificate_that_does_not_fit_is_never_served_and_ordered_again_later(ca, issuing, case):
    unfit, words = UNFIT[case]
    ca.always("certificate", unfit)
    outcome = await issuing.obtain(NAME)
    assert words in outcome.detail
    assert not await issuing.has(NAME)
    assert ca.count("certificate") == 2, "asked for once more before another order is made"
    ca.well()
    await issuing.obtain(NAME)
    assert ca.made == (1, 0)
    await issuing.time.sleep(70)
    assert (await issuing.obtain(NAME)).ok
    assert ca.made == (2, 0)


async def test_a_chain_that_was_damaged_on_its_way_costs_no_second_order(ca, issuing):
    ca.plan("certificate", fault.malformed(b"-----BEGIN CERT"))
    assert (await issuing.obtain(NAME)).ok
    assert ca.made == (1, 0)


# Clocks


async def test_a_new_names_certificate_is_served_though_the_cas_clock_is_ahead(ca, issuing, caplog, capsys):
    ca.skew = 300
    assert (await issuing.obtain(NAME)).ok
    assert (await issuing.leaf(NAME)).not_valid_before_utc.timestamp() > issuing.time()
    assert "this machine's clock and the CA's differ" in capsys.readouterr().out


async def test_a_renewed_certificate_that_is_not_valid_yet_is_fetched_when_it_is(ca, issuing):
    await issuing.obtain(NAME)
    before = await issuing.leaf(NAME)
    stored = await issuing.store.current_certificate(NAME)
    await issuing.store.set_renewal(stored.id, 0.0)
    ca.skew = 300
    began = issuing.time()
    await issuing.upkeep.renew_due()
    assert await issuing.leaf(NAME) == before
    failure = await issuing.store.failure(NAME)
    assert f"The CA's new certificate for {NAME} is valid only in" in failure.detail
    assert "by this machine's clock; the present one is served until then" in failure.detail
    ca.skew = 0
    while await issuing.leaf(NAME) == before:
        assert issuing.time() - began < 600
        await issuing.pass_by(30)
    assert (await issuing.leaf(NAME)).not_valid_before_utc.timestamp() <= issuing.time() + 5
    assert ca.made == (2, 0), "its first certificate, and this one"


async def test_a_clock_that_is_behind_changes_nothing(ca, issuing):
    ca.skew = -3_600
    assert (await issuing.obtain(NAME)).ok


# The directory


async def test_resources_that_move_are_found_again_under_the_same_account_key(ca, issuing):
    before = await issuing.store.account(ca.directory)
    ca.move()
    outcomes = await asyncio.gather(*(issuing.obtain(name) for name in NAMES))
    assert [outcome.detail for outcome in outcomes] == [""] * 5
    after = await issuing.store.account(ca.directory)
    assert after.key == before.key
    assert after.url.startswith(ca.url)
    assert ca.made == (5, 0)
    assert ca.count("directory") == 1


async def test_an_order_under_way_while_everything_moves_is_made_anew(ca, issuing):
    ca.plan("authorization", fault.busy())
    await issuing.obtain(NAME)
    ca.move()
    await issuing.pass_by(120)
    assert await issuing.has(NAME)


@pytest.mark.parametrize("field", ["newOrder", "newNonce", "newAccount"])
async def test_a_directory_that_lost_a_field_is_not_believed_while_the_old_one_works(ca, issuing, field, capsys):
    ca.always("directory", fault.without(field))
    await issuing.time.sleep(3_700)
    outcomes = await asyncio.gather(*(issuing.obtain(name) for name in NAMES))
    assert [outcome.detail for outcome in outcomes] == [""] * 5
    assert ca.count("directory") == 1, "not at each order"
    assert f"missing required field `{field}`" in capsys.readouterr().out


async def test_a_start_with_a_directory_that_lacks_a_field_says_so_and_goes_on_when_it_is_back(ca, tmp_path):
    ca.always("directory", fault.without("newOrder"))
    async with Issuing(tmp_path, ca) as issuing:
        outcome = await issuing.obtain(NAME)
        assert "missing required field `newOrder`" in outcome.detail
        assert "Is issuance.directory an ACME directory?" in outcome.detail
        ca.well()
        await issuing.pass_by(120)
        assert await issuing.has(NAME)


async def test_what_a_directory_loses_beside_the_necessary_does_not_matter(ca, issuing):
    ca.always("directory", fault.without("meta", "renewalInfo", "keyChange", "revokeCert"))
    await issuing.time.sleep(3_700)
    assert (await issuing.obtain(NAME)).ok


async def test_a_profile_that_the_ca_drops_is_the_operators_to_change(ca, tmp_path):
    ca.newer.profiles["shortlived"] = "https://ca.example/shortlived"
    async with Issuing(tmp_path, ca, profile="shortlived") as issuing:
        assert (await issuing.obtain(NAME)).ok
        del ca.newer.profiles["shortlived"]
        ca.newer.profiles["classic"] = "https://ca.example/classic"
        outcome = await issuing.obtain("b.example.com")
        assert "The CA does not have the profile that issuance.profile names." in outcome.detail
        await issuing.time.sleep(3_700)
        outcome = await issuing.obtain("b.example.com")
        assert outcome.detail == "The CA has no profile 'shortlived'; it offers classic. Change issuance.profile."


# Terms and accounts


async def test_terms_that_change_are_told_once_and_stop_nothing(ca, issuing, capsys):
    terms = "https://ca.example/terms-2027"
    ca.always("directory", fault.edited(lambda directory: directory | {"meta": {"termsOfService": terms}}))
    await issuing.time.sleep(3_700)
    assert (await issuing.obtain(NAME)).ok
    await issuing.time.sleep(3_700)
    assert (await issuing.obtain("b.example.com")).ok
    output = capsys.readouterr().out
    assert output.count("the CA has changed its terms of service") == 1
    assert terms in output


async def test_terms_to_agree_to_are_told_with_their_addresses_and_waited_for(ca, issuing):
    ca.always(
        "newOrder",
        fault.problem(
            "userActionRequired",
            403,
            detail="Terms of service have changed",
            instance="https://ca.example/agreement/?token=W8Ih3PswD-8",
            link='<https://ca.example/terms-2027>;rel="terms-of-service"',
        ),
    )
    began = issuing.time()
    outcomes = await asyncio.gather(*(issuing.obtain(name) for name in NAMES))
    assert outcomes[0].detail == (
        "The CA has changed its terms of service and waits for you to agree. Read them at https://ca.example/terms-2027. "
        "Agree at https://ca.example/agreement/?token=W8Ih3PswD-8; it is tried again by itself. Present certificates are "
        "served on. The CA says: Terms of service have changed."
    )
    await issuing.pass_by(600)
    assert ca.count("newOrder", since=began + 1) <= 600 / 60, "one of them asks, once a minute"
    ca.well()
    await issuing.pass_by(180)
    assert await issuing.has(*NAMES)
    assert ca.made == (5, 0)


async def deactivate(issuing):
    """Our account, as its owner may do at the CA's."""
    account = await issuing.issuer._accounts.get()
    await issuing.issuer._transport.post(account.kid, {"status": "deactivated"}, account.key, account.kid)


async def test_a_deactivated_account_is_replaced_by_one_with_a_fresh_key_once(ca, issuing, capsys):
    before = await issuing.store.account(ca.directory)
    await deactivate(issuing)
    outcomes = await asyncio.gather(*(issuing.obtain(name) for name in NAMES))
    assert [outcome.detail for outcome in outcomes] == [""] * 5
    after = await issuing.store.account(ca.directory)
    assert after.key != before.key
    assert ca.made == (5, 1)
    assert "the CA has deactivated our account; a new one is made" in capsys.readouterr().out
    await deactivate(issuing)
    outcome = await issuing.obtain(NAME)
    assert outcome.detail.startswith("The CA has deactivated our account again, after a new one was made. Ask the CA why;")
    await issuing.pass_by(600)
    assert ca.made == (5, 1)
    await issuing.time.sleep(REPLACED_SECONDS)
    await issuing.pass_by(120)
    assert await issuing.has(NAME)
    assert ca.made == (6, 2)


async def test_an_order_under_way_when_the_account_is_deactivated_is_made_anew(ca, issuing):
    ca.plan("authorization", fault.busy())
    await issuing.obtain(NAME)
    await deactivate(issuing)
    await issuing.pass_by(120)
    assert await issuing.has(NAME)
    assert ca.made == (2, 1)


async def test_an_account_that_the_ca_forgot_is_registered_again_with_the_same_key(ca, issuing):
    before = await issuing.store.account(ca.directory)
    ca.plan("newOrder", fault.problem("accountDoesNotExist"))
    assert (await issuing.obtain(NAME)).ok
    after = await issuing.store.account(ca.directory)
    assert (after.key, after.url) == (before.key, before.url)
    assert ca.count("newAccount") == 1
    assert ca.made == (1, 0)


async def test_a_ca_that_knows_the_account_and_does_not_is_not_registered_at_for_ever(ca, issuing):
    ca.always("newOrder", fault.problem("accountDoesNotExist"))
    outcome = await issuing.obtain(NAME)
    assert "The CA does not know our account any more." in outcome.detail
    await issuing.pass_by(1_200)
    assert ca.count("newAccount") <= 4
    assert ca.made == (0, 0)


async def test_what_the_account_may_not_do_makes_no_other_account(ca, issuing):
    ca.always("newOrder", fault.problem("unauthorized", 403, detail="this account may not order for example.com"))
    before = await issuing.store.account(ca.directory)
    outcome = await issuing.obtain(NAME)
    assert outcome.detail == (
        f"The CA does not let our account do this for {NAME}. The CA says: this account may not order for example.com."
    )
    assert (await issuing.store.account(ca.directory)) == before
    assert ca.made == (0, 0)


async def test_a_renewal_fails_as_a_new_name_does_and_the_old_certificate_is_served_on(ca, issuing):
    await issuing.obtain(NAME)
    stored = await issuing.store.current_certificate(NAME)
    await issuing.store.set_renewal(stored.id, 0.0)
    ca.always("newOrder", fault.problem("serverInternal", 500))
    await issuing.pass_by(600)
    assert (await issuing.store.current_certificate(NAME)).id == stored.id
    ca.well()
    await issuing.pass_by(120)
    renewed = await issuing.store.current_certificate(NAME)
    assert renewed.id != stored.id
    assert renewed.renew_at > issuing.time() + DAY
