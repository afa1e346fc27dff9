"""When ticket secrets come and go."""

from hypothesis import given
from hypothesis import strategies as st

from edgeproxy.control.tickets import AHEAD, DAY, HOUR, LOOK_SECONDS, TicketSecrets, in_use, next_start
from edgeproxy.published.records import Tickets
from edgeproxy.published.seal import Sealer

NOW = 1_800_000_000.0
THIS_HOUR = int(NOW) // HOUR * HOUR


class Memory:
    """The store's part that is used."""

    def __init__(self) -> None:
        self.row: Tickets | None = None

    async def tickets(self) -> Tickets | None:
        return self.row

    async def save_tickets(self, tickets: Tickets, now: float) -> int:
        self.row = tickets
        return 1


def test_the_first_secret_counts_at_once():
    assert next_start([], NOW) == THIS_HOUR


def test_the_next_secret_is_made_a_while_before_it_counts():
    start = THIS_HOUR
    assert next_start([start], start + DAY - AHEAD - 1) is None
    assert next_start([start], start + DAY - AHEAD) == start + DAY


def test_after_a_long_pause_the_next_secret_still_lies_ahead():
    assert next_start([THIS_HOUR - 30 * DAY], NOW) == THIS_HOUR + HOUR


def test_a_secret_is_kept_until_every_hostname_has_left_it():
    newest, older = THIS_HOUR, THIS_HOUR - DAY
    assert in_use([newest, older, older - DAY], newest + DAY - 1) == 2
    assert in_use([newest, older], newest + DAY) == 1
    assert in_use([newest], newest) == 1


@given(st.lists(st.floats(1, 5 * DAY), min_size=1, max_size=60), st.integers(0, DAY - 1))
def test_whenever_it_looks_every_hostname_has_a_secret_and_few_are_kept(pauses: list[float], offset: int):
    starts: list[int] = []
    now = NOW
    for pause in pauses:
        start = next_start(starts, now)
        if start is not None:
            assert not starts or start > now, "published before it counts"
            starts.insert(0, start)
        starts = starts[: in_use(starts, now)]
        assert starts == sorted(starts, reverse=True)
        assert 1 <= len(starts) <= 3
        assert all(start % HOUR == 0 for start in starts)
        now += pause


async def test_secrets_are_sealed_each_under_its_start_and_the_old_are_destroyed():
    store = Memory()
    sealer = Sealer(b"k" * 32)
    clock = [NOW]
    tickets = TicketSecrets(store, sealer, lambda: clock[0])  # type: ignore[arg-type]
    assert await tickets.look()
    assert not await tickets.look()
    seen = set()
    for _ in range(int(4 * DAY / LOOK_SECONDS)):
        clock[0] += LOOK_SECONDS
        await tickets.look()
        assert store.row is not None
        assert len(store.row.secrets) == len(store.row.starts) <= 3
        for sealed, start in zip(store.row.secrets, store.row.starts, strict=True):
            seen.add(sealer.open(sealed, b"ticket:%d" % start))
    assert len(seen) == 5
    assert all(len(secret) >= 32 for secret in seen)


async def test_secrets_from_a_clock_that_was_far_ahead_do_not_stay():
    store = Memory()
    clock = [NOW + 400 * DAY]
    tickets = TicketSecrets(store, Sealer(b"k" * 32), lambda: clock[0])  # type: ignore[arg-type]
    await tickets.look()
    clock[0] = NOW
    await tickets.look()
    assert store.row is not None
    assert store.row.starts == (THIS_HOUR,)
