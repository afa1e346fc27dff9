"""When the CA wants certificates renewed."""

import asyncio
import contextlib

import msgspec
import pytest

from edgeproxy.control.issuance import windows
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.control.issuance.renewal import INFO_SECONDS, Suggestion
from edgeproxy.control.issuance.windows import AT_ONCE, TROUBLE_SECONDS, WITHOUT_SECONDS, Windows
from edgeproxy.errors import IssuanceError
from tests.control.store.making import DAY, NOW, certificate

CA = "https://ca.example/dir"


class Issuer:
    """What a CA says, in the order in which it is asked; what is an error is raised."""

    directory = CA

    def __init__(self):
        self.has_it: bool | IssuanceError = True
        self.says, self.asked, self.at_once = [], [], [0, 0]
        self.otherwise = Suggestion(NOW + DAY, NOW + 2 * DAY, 3_600.0)

    async def suggests(self):
        if isinstance(self.has_it, IssuanceError):
            raise self.has_it
        return self.has_it

    async def suggestion(self, chain):
        self.asked.append(chain.removeprefix(b"chain of ").decode())
        self.at_once = [self.at_once[0] + 1, max(self.at_once[1], self.at_once[0] + 1)]
        await asyncio.sleep(0.001)
        self.at_once[0] -= 1
        said = self.says.pop(0) if self.says else self.otherwise
        if isinstance(said, Exception):
            raise said
        return said


class Case:
    def __init__(self, world):
        self.store, self.now, self.issuer = world.store, NOW, Issuer()
        self.windows = Windows(world.store, self.issuer, lambda: self.now)  # type: ignore[arg-type]

    async def add(self, *ones, **more):
        for one in ones:
            row = msgspec.structs.replace(certificate(one, f"{one}.example.com", **more), issuer=CA)
            await self.store.add_certificate(row, NOW)

    async def look(self, after=0.0):
        self.now += after
        self.issuer.asked.clear()
        await self.windows.look()
        return self.issuer.asked


@pytest.fixture
def case(world):
    return Case(world)


async def test_a_new_certificate_is_asked_about_at_once_and_again_when_the_ca_says(case):
    await case.add("c1")
    assert await case.look() == ["c1"]
    stored = await case.store.get_certificate("c1")
    assert NOW + DAY <= stored.renew_at <= NOW + 2 * DAY
    assert stored.info_at == NOW + 3_600
    assert await case.look(3_599) == []
    assert await case.look(2) == ["c1"]
    assert (await case.store.get_certificate("c1")).renew_at == stored.renew_at, "the same window is the same moment"


async def test_windows_that_moved_into_the_past_make_everything_due(case):
    await case.add("c1", "c2")
    await case.look()
    case.issuer.otherwise = Suggestion(NOW - DAY, NOW - 1, 60.0)
    await case.look(3_601)
    assert len(await case.store.certificates_to_renew(case.now, 10)) == 2
    assert await case.look(61) == ["c1", "c2"]


@pytest.mark.parametrize(
    "said", [IssuanceError("no JSON", code="ca_malformed"), CaRefused("404", problem="malformed", status=404)]
)
async def test_an_answer_that_says_nothing_leaves_the_plan_and_is_asked_for_again_in_six_hours(case, said):
    await case.add("c1", "c2")
    case.issuer.says = [said]
    assert await case.look() == ["c1", "c2"]
    failed = await case.store.get_certificate("c1")
    assert failed.renew_at == certificate("c1", "a").renew_at
    assert case.now + INFO_SECONDS <= failed.info_at <= case.now + 1.1 * INFO_SECONDS
    assert (await case.store.get_certificate("c2")).renew_at < failed.renew_at


async def test_a_ca_that_is_away_is_left_alone_for_a_while_and_one_question_hides_no_others(case):
    names = [f"c{number:02}" for number in range(20)]
    await case.add(*names)
    case.issuer.otherwise = CaRefused("It is away.", problem="unreachable")
    assert len(await case.look()) <= AT_ONCE
    assert await case.look(TROUBLE_SECONDS - 1) == []
    case.issuer.otherwise = Suggestion(NOW + DAY, NOW + 2 * DAY)
    asked = await case.look(2)
    assert len(asked) >= len(names) - AT_ONCE, "those that were not asked about yet come first"


async def test_a_busy_cas_retry_after_is_kept(case):
    await case.add("c1", "c2")
    case.issuer.otherwise = CaRefused("Too many.", problem="rateLimited", status=429, retry_after=5_000)
    await case.look()
    assert await case.look(4_990) == []
    case.issuer.otherwise = None
    assert await case.look(20)


async def test_a_ca_without_renewal_information_is_not_asked(case):
    await case.add("c1")
    case.issuer.has_it = False
    assert await case.look() == []
    case.issuer.has_it = True
    case.issuer.otherwise = None
    assert await case.look(WITHOUT_SECONDS - 1) == []
    assert await case.look(2) == ["c1"]
    assert (await case.store.get_certificate("c1")).renew_at == certificate("c1", "a").renew_at


async def test_a_ca_that_is_away_at_the_start_is_asked_once_it_is_back(case):
    await case.add("c1")
    case.issuer.has_it = CaRefused("It is away.", problem="unreachable")
    assert await case.look() == []
    case.issuer.has_it = True
    assert await case.look(TROUBLE_SECONDS - 1) == []
    assert await case.look(2) == ["c1"]


async def test_few_questions_are_asked_at_once(case):
    await case.add(*(f"c{number}" for number in range(30)))
    await case.look()
    assert case.issuer.at_once[1] == AT_ONCE


async def test_it_looks_again_and_again_whatever_fails(case, monkeypatch):
    monkeypatch.setattr(windows, "LOOK_SECONDS", 0.005)
    original, looks = case.store.certificates_to_ask_about, []

    async def failing(*arguments):
        looks.append(arguments)
        if len(looks) < 3:
            raise IssuanceError("The disk is full.")
        return await original(*arguments)

    monkeypatch.setattr(case.store, "certificates_to_ask_about", failing)
    await case.add("c1")
    task = asyncio.create_task(case.windows.run())
    async with asyncio.timeout(60):
        while (await case.store.get_certificate("c1")).info_at == 0.0:
            await asyncio.sleep(0.005)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
