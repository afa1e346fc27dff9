"""What a CA's limits still allow, and from when. Pure: `now` is a parameter, Unix time.

Every limit is kept as a sliding window, which is never looser than the token buckets that CAs use. Orders are paced
besides: some may go at once (`burst`), the others one by one over the window, so that late visitors find something left.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from typing import Literal

from edgeproxy.config.structs import Config
from edgeproxy.control.issuance.internal import DIRECTORY as INTERNAL

Kind = Literal["new", "renewal", "retry"]
KINDS: tuple[Kind, ...] = ("new", "renewal", "retry")

Scope = Literal["account", "domain", "name"]
"""What a CA's "not before …" is about: everything, a registered domain, or one name."""

KEPT = 4
"""A share's KEPTth part is never lent to the other kinds: whoever comes late finds it, within the pace."""

SUBJECTS = 100_000
"""Names and registered domains that windows are kept of; above it those go that spent longest ago. The limit of orders
keeps them far below where there is one."""

BLOCKS = 10_000
"""Names and registered domains that the CA may put off at once; above it the oldest go."""

_ROUNDING = 1e-6
"""Seconds: sums of floats that differ by less are the same moment."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limit:
    """So many in any `window` seconds; 0: no limit."""

    count: int
    window: float


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """A CA's limits, and how the orders are divided."""

    orders: Limit
    certificates: Limit
    failures: Limit
    duplicates: Limit
    burst: int
    exempt: Literal["replaces", "renewals", "none"]
    shares: tuple[tuple[Kind, int], ...]
    """Percent by kind."""

    @property
    def longest(self) -> float:
        """Seconds after which nothing that was spent counts any more."""
        return max(limit.window for limit in (self.orders, self.certificates, self.failures, self.duplicates))


def rules_of(config: Config) -> Rules:
    """The limits of the configured CA. The built-in one has none."""
    budget = config.issuance.budget
    on = 0 if config.issuance.directory == INTERNAL else 1
    shares = budget.shares
    return Rules(
        orders=Limit(on * budget.orders, budget.orders_window),
        certificates=Limit(on * budget.certificates, budget.certificates_window),
        failures=Limit(on * budget.failures, budget.failures_window),
        duplicates=Limit(on * budget.duplicates, budget.duplicates_window),
        burst=max(1, min(budget.burst, budget.orders)),
        exempt=budget.exempt,
        shares=(("new", shares.new), ("renewal", shares.renewals), ("retry", shares.retries)),
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Ask:
    """An order that somebody would like to place."""

    name: str
    registered: str
    """The registered domain that the name belongs to."""
    kind: Kind
    renewal: bool = False
    """Whether a certificate for exactly this name was issued before. A retry can be one."""
    replaces: bool = False
    """Whether the order will name the certificate that it replaces."""


@dataclasses.dataclass(frozen=True, slots=True)
class Spent:
    """An order that was placed, or a validation of a name that failed."""

    what: Literal["order", "issued", "failed", "validation"]
    """"issued": an order of which a certificate came. "failed": one of which none can come any more; it counts as an order, but
    not as a certificate."""
    at: float
    name: str
    registered: str = ""
    kind: Kind = "new"
    paced: bool = True
    """False for orders that the CA does not count as orders of the account."""


@dataclasses.dataclass(frozen=True, slots=True)
class Left:
    """What is left of the account's orders, for people."""

    limit: int
    window: float
    left: int
    by_kind: dict[Kind, int]
    """Orders of this window by kind."""
    domains_full: int
    """Registered domains whose limit of certificates is reached."""


class Window:
    """The moments at which something was spent, as far back as they count."""

    __slots__ = ("limit", "times")

    def __init__(self, limit: Limit) -> None:
        self.limit = limit
        self.times: collections.deque[float] = collections.deque()

    def forget(self, now: float) -> None:
        """Drops what no longer counts."""
        while self.times and self.times[0] + self.limit.window <= now:
            self.times.popleft()

    def free_at(self, now: float) -> float:
        """From when one more fits; `now` or earlier: it does."""
        if not self.limit.count:
            return now
        self.forget(now)
        if len(self.times) < self.limit.count:
            return now
        return self.times[len(self.times) - self.limit.count] + self.limit.window

    def set_back(self, now: float) -> None:
        """The clock was ahead: what was spent then counts as spent now, or it would count for as long as it was ahead."""
        self.times = collections.deque(min(at, now) for at in self.times)

    def add(self, at: float) -> None:
        """Spends one."""
        if not self.times or self.times[-1] <= at:
            self.times.append(at)
        else:  # the clock was set back, or it is another machine's
            self.times = collections.deque(sorted((*self.times, at)))

    def remove(self, at: float) -> None:
        """Takes one back."""
        if at in self.times:
            self.times.remove(at)


class _Orders:
    """The account's orders: one window, divided by kind, and paced."""

    def __init__(self, rules: Rules) -> None:
        self.limit = rules.orders
        self.shares = dict(rules.shares)
        self.kept = {kind: rules.orders.count * share // (100 * KEPT) for kind, share in rules.shares}
        self.interval = rules.orders.window / rules.orders.count if rules.orders.count else 0.0
        self.slack = (rules.burst - 1) * self.interval
        self.entries: collections.deque[tuple[float, Kind]] = collections.deque()
        self.used: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.paced_to = -math.inf
        """Where the pace stands: after each order it moves on by `interval`, and may be ahead of now by `slack`."""

    def forget(self, now: float) -> None:
        while self.entries and self.entries[0][0] + self.limit.window <= now:
            self.used[self.entries.popleft()[1]] -= 1

    def set_back(self, now: float, by: float) -> None:
        self.entries = collections.deque((min(at, now), kind) for at, kind in self.entries)
        self.paced_to = min(self.paced_to, max(now, self.paced_to - by))

    def free_at(self, kind: Kind, now: float) -> float:
        if not self.limit.count:
            return now
        self.forget(now)
        return max(self._fits_at(kind, now), self.paced_to - self.slack - _ROUNDING)

    def full_at(self, now: float) -> float:
        """From when the CA itself would allow one more, whatever pace and shares say."""
        self.forget(now)
        over = len(self.entries) - self.limit.count
        return self.entries[over][0] + self.limit.window if self.limit.count and over >= 0 else now

    def _fits_at(self, kind: Kind, now: float) -> float:
        """From when the window has room for one more of a kind, besides what is kept for the others."""
        used, total, at = dict(self.used), len(self.entries), now
        expiring = iter(self.entries)
        while total + 1 + sum(max(0, kept - used[other]) for other, kept in self.kept.items() if other != kind) > (
            self.limit.count
        ):
            spent, gone = next(expiring)
            used[gone] -= 1
            total -= 1
            at = spent + self.limit.window
        return at

    def add(self, at: float, kind: Kind) -> None:
        if not self.limit.count:
            return
        if self.entries and self.entries[-1][0] > at:
            self.entries = collections.deque(sorted((*self.entries, (at, kind))))
        else:
            self.entries.append((at, kind))
        self.used[kind] += 1
        self.paced_to = max(self.paced_to, at) + self.interval

    def remove(self, at: float, kind: Kind) -> None:
        if (at, kind) in self.entries:
            self.entries.remove((at, kind))
            self.used[kind] -= 1
            self.paced_to -= self.interval

    def nth_at(self, kind: Kind, place: float, now: float) -> float:
        """About when the `place`th order from now (0: the next) could go, where nothing else is asked for."""
        if not self.limit.count:
            return now
        paced = max(self.paced_to, now) + place * self.interval - self.slack
        room = max(1, self.limit.count - sum(kept for other, kept in self.kept.items() if other != kind))
        index = int(place) - max(0, room - len(self.entries))
        if index < 0:
            return max(now, paced)
        rounds, place_in_round = divmod(index, room)
        first = self.entries[place_in_round][0] if place_in_round < len(self.entries) else now
        return max(now, paced, first + self.limit.window * (rounds + 1))


class Budget:
    """The budget at one CA. Whoever spends says so; whether it may be is asked before."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._orders = _Orders(rules)
        self._certificates: dict[str, Window] = {}
        self._duplicates: dict[str, Window] = {}
        self._failures: dict[str, Window] = {}
        self._blocks: dict[tuple[Scope, str], tuple[float, str]] = {}
        """Until when, and why in words."""

    # Asking

    def counts(self, ask: Ask) -> bool:
        """Whether the CA counts an order as one of the account's."""
        return not self._exempt(ask) and not (ask.renewal and self.rules.exempt == "renewals")

    def account_free_at(self, kind: Kind, now: float, *, counts: bool = True) -> float:
        """From when an order of a kind may be placed, as far as the account is concerned."""
        blocked = self._blocked("account", "", now)
        return max(blocked, self._orders.free_at(kind, now)) if counts else blocked

    def name_free_at(self, ask: Ask, now: float) -> float:
        """From when an order may be placed, as far as its name and its registered domain are concerned."""
        at = max(self._blocked("name", ask.name, now), self._blocked("domain", ask.registered, now))
        return max(at, *(window.free_at(now) for window in self._windows(ask)), now)

    def hard_free_at(self, ask: Ask, now: float) -> float:
        """From when the CA itself would take an order. For the second one of an issuance that has begun, which pace and
        shares would only hold up half-way."""
        at = max(self._blocked("account", "", now), self.name_free_at(ask, now))
        return max(at, self._orders.full_at(now)) if self.counts(ask) else at

    def within(self, spent: Spent, now: float) -> bool:
        """Whether what was spent is within the limits: another machine may have spent at the same time."""
        self._orders.forget(now)
        if spent.paced and self._orders.limit.count and len(self._orders.entries) > self._orders.limit.count:
            return False
        for windows, limit, subject in self._certificate_windows(spent):
            window = windows[subject]
            window.forget(now)
            if len(window.times) > limit.count:
                return False
        return True

    # Spending

    def spend(self, ask: Ask, now: float) -> Spent | None:
        """An order is placed; None where the CA counts nothing of it."""
        if self._exempt(ask):
            return None
        counts = self.counts(ask)
        registered = ask.registered if self._counts_for_domain(ask) else ""
        spent = Spent("order", now, ask.name, registered, ask.kind, counts)
        self.learn(spent)
        return spent

    def learn(self, spent: Spent) -> None:
        """Something was spent: by this process, an earlier one, or another machine."""
        if spent.what == "validation":
            self._note(self._failures, self.rules.failures, spent.name, spent.at)
            return
        if spent.paced:
            self._orders.add(spent.at, spent.kind)
        if spent.what in ("order", "issued"):
            for windows, limit, subject in self._certificate_windows(spent):
                self._note(windows, limit, subject, spent.at)

    def take_back(self, spent: Spent) -> None:
        """The CA never took the order."""
        if spent.paced and spent.what != "validation":
            self._orders.remove(spent.at, spent.kind)
        self.failed(spent)

    def failed(self, spent: Spent) -> None:
        """No certificate will come of an order."""
        if spent.what == "order":
            for windows, _, subject in self._certificate_windows(spent):
                if (window := windows.get(subject)) is not None:
                    window.remove(spent.at)

    def block(self, scope: Scope, subject: str, until: float, why: str = "") -> None:
        """The CA said "not before"; `why` in words."""
        key: tuple[Scope, str] = (scope, subject)
        self._blocks[key] = max((until, why), self._blocks.pop(key, (until, why)))
        while len(self._blocks) > BLOCKS:
            del self._blocks[next(key for key in self._blocks if key[0] != "account")]

    def set_back(self, now: float, by: float) -> None:
        """The clock was set back, by so many seconds: nothing may rest until the time comes that it had told."""
        self._orders.set_back(now, by)
        for windows in (self._certificates, self._duplicates, self._failures):
            for window in windows.values():
                window.set_back(now)
        self._blocks = {key: (until - by, why) for key, (until, why) in self._blocks.items()}

    def forget(self, now: float) -> None:
        """Drops what no longer counts, so that nothing grows."""
        self._orders.forget(now)
        for key, (until, _) in list(self._blocks.items()):
            if until <= now:
                del self._blocks[key]
        for windows in (self._certificates, self._duplicates, self._failures):
            for subject, window in list(windows.items()):
                window.forget(now)
                if not window.times:
                    del windows[subject]

    # Telling

    def need(self, kind: Kind) -> float:
        """How much of its share a kind has used: below 1 it has something left of its own."""
        return self._orders.used[kind] * 100 / max(1, self._orders.limit.count * self._orders.shares[kind])

    def expected(self, kind: Kind, place: int, now: float, *, alone: bool, counts: bool = True) -> float:
        """About when the `place`th order of a kind (0: the next) will go. `alone`: no other kind waits."""
        blocked = self._blocked("account", "", now)
        if not counts:
            return max(now, blocked)
        share = 1.0 if alone else self._orders.shares[kind] / 100
        return max(now, blocked, self._orders.nth_at(kind, place / share, now))

    def why(self, ask: Ask, now: float) -> str:
        """What the CA said that puts an order off longest, in words; empty where it said nothing."""
        concerned: tuple[tuple[Scope, str], ...] = (("account", ""), ("domain", ask.registered), ("name", ask.name))
        until, why = max(self._blocks.get(key, (0.0, "")) for key in concerned)
        return why if until > now else ""

    def left(self, now: float) -> Left:
        """What is left in this window."""
        self._orders.forget(now)
        full = sum(window.free_at(now) > now for window in self._certificates.values())
        left = max(0, self._orders.limit.count - len(self._orders.entries))
        return Left(
            self._orders.limit.count, self._orders.limit.window, left, {kind: self._orders.used[kind] for kind in KINDS}, full
        )

    def _blocked(self, scope: Scope, subject: str, now: float) -> float:
        return self._blocks.get((scope, subject), (now, ""))[0]

    def _exempt(self, ask: Ask) -> bool:
        return ask.replaces and self.rules.exempt != "none"

    def _counts_for_domain(self, ask: Ask) -> bool:
        """Whether the CA counts an order's certificate for its registered domain."""
        return not self._exempt(ask) and not (ask.renewal and self.rules.exempt != "none")

    def _windows(self, ask: Ask) -> list[Window]:
        """Those that limit an order for a name."""
        if self._exempt(ask):
            return []
        found = [self._failures.get(ask.name), self._duplicates.get(ask.name)]
        if self._counts_for_domain(ask):
            found.append(self._certificates.get(ask.registered))
        return [window for window in found if window is not None]

    def _certificate_windows(self, spent: Spent) -> list[tuple[dict[str, Window], Limit, str]]:
        found = [(self._duplicates, self.rules.duplicates, spent.name)]
        if spent.registered:
            found.append((self._certificates, self.rules.certificates, spent.registered))
        return [each for each in found if each[1].count]

    def _note(self, windows: dict[str, Window], limit: Limit, subject: str, at: float) -> None:
        if not limit.count:
            return
        window = windows.pop(subject, None) or Window(limit)
        windows[subject] = window  # at the end: the order in which they last spent
        window.add(at)
        if len(windows) > SUBJECTS:
            del windows[next(iter(windows))]
