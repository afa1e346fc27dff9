"""Whose turn it is. Pure: `now` is a parameter, Unix time.

Names for which a visitor waits at the handshake come first, then those that a visitor asked for before, then the others.
Among equals the workspaces take turns, so that one which brings a thousand names holds up nobody else. Kinds of orders
(new names, renewals, retries) each have their share of the budget, and what needs none goes beside them.
"""

from __future__ import annotations

import bisect
import collections
import dataclasses
import heapq
import math
from collections.abc import Callable, Iterator
from typing import Literal

from edgeproxy.control.issuance.budget import KINDS, Ask, Budget, Kind

Lane = Literal["free", "new", "renewal", "retry"]
"""What a name waits in: "free" where its order is placed already or the CA does not count it, else its kind."""

LANES: tuple[Lane, ...] = ("free", *KINDS)

_WATCHED, _VISITED, _UNSEEN = range(3)
"""Ranks of names: somebody waits now, somebody came before, nobody did."""


@dataclasses.dataclass(slots=True)
class Entry:
    """A name that waits. Change what `Queue` says, through it."""

    ask: Ask
    workspace: str
    since: float
    free: bool = False
    """Whether its order is placed already, so that none is to be paid for."""
    urgency: float = 0.0
    """Within its workspace the lowest comes first: for a renewal when the certificate expires."""
    visited: bool = False
    """Whether a visitor asked for it, or the operator."""
    forced: bool = False
    """Whether it is issued though a valid certificate is there."""
    not_before: float = 0.0
    reason: str = ""
    """Why not before, in words for people; empty: it only waits for its turn."""
    visitors: int = 0
    """Handshakes that wait for it now."""
    number: int = 0
    """Set by the queue when it comes first: earlier ones are lower. Who has to wait again keeps it."""
    place: tuple[Lane, int] | None = None
    """Set by the queue: its lane and rank; None while it sleeps."""

    @property
    def name(self) -> str:
        """The certificate's name."""
        return self.ask.name


@dataclasses.dataclass(frozen=True, slots=True)
class Turn:
    """Where a name stands, for people."""

    kind: Kind
    position: int
    """About how many of its kind come before it, and 1."""
    expected: float
    """About when its turn comes."""
    reason: str
    """Why it waits longer than its position says; may be empty."""


class _Ring:
    """Lines of workspaces that take turns."""

    def __init__(self) -> None:
        self.lines: collections.OrderedDict[str, list[tuple[float, int, str]]] = collections.OrderedDict()
        self.count = 0

    def add(self, entry: Entry) -> None:
        bisect.insort(self.lines.setdefault(entry.workspace, []), _key(entry))
        self.count += 1

    def remove(self, entry: Entry) -> None:
        line = self.lines[entry.workspace]
        del line[bisect.bisect_left(line, _key(entry))]
        if not line:
            del self.lines[entry.workspace]
        self.count -= 1

    def first(self) -> str:
        return next(iter(self.lines.values()))[0][2]

    def served(self, workspace: str) -> None:
        """The workspace had its turn: it comes after the others."""
        if workspace in self.lines:
            self.lines.move_to_end(workspace)

    def before(self, entry: Entry) -> int:
        """How many come before it."""
        line = self.lines[entry.workspace]
        ahead = bisect.bisect_left(line, _key(entry))
        count, passed = ahead, False
        for workspace, other in self.lines.items():
            if workspace == entry.workspace:
                passed = True
            else:
                count += min(len(other), ahead + (0 if passed else 1))
        return count


class Queue:
    """Names that wait for their turn."""

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._entries: dict[str, Entry] = {}
        self._rings: dict[Lane, tuple[_Ring, _Ring, _Ring]] = {lane: (_Ring(), _Ring(), _Ring()) for lane in LANES}
        self._sleeping: list[tuple[float, int, str]] = []
        self._by_workspace: dict[str, dict[str, Entry]] = {}
        self._by_kind: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self._numbers = 0

    def use(self, budget: Budget) -> None:
        """From now on this budget counts: names wait for another CA. Its rules must be the same."""
        self._budget = budget

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def get(self, name: str) -> Entry | None:
        """The entry of a name that waits."""
        return self._entries.get(name)

    # Coming and going

    def add(self, entry: Entry, now: float) -> None:
        """Takes a name that does not wait yet."""
        if not entry.number:
            self._numbers += 1
            entry.number = self._numbers
        self._entries[entry.name] = entry
        self._by_kind[entry.ask.kind] += 1
        self._by_workspace.setdefault(entry.workspace, {})[entry.name] = entry
        if entry.not_before > now:
            self._sleep(entry)
        else:
            self._line_up(entry)

    def make_room(self, workspace: str, *, visited: bool = False) -> Entry | None:
        """Takes out a name in favour of one of a workspace: the last of the workspace that has most. Where that is its own,
        one that a visitor asked for goes before one that none did; else None: it has to do without."""
        longest = max(self._by_workspace, key=lambda each: len(self._by_workspace[each]), default=workspace)
        mine = len(self._by_workspace.get(longest, ())) <= len(self._by_workspace.get(workspace, ())) + 1
        names = self._by_workspace.get(workspace if mine else longest, {}).values()
        last = max(names, key=lambda entry: (not entry.visitors, not entry.visited, entry.number), default=None)
        if last is None or (mine and (last.visited or not visited)):
            return None
        return self.remove(last.name)

    def remove(self, name: str) -> Entry | None:
        """Takes a name out, wherever it stands."""
        entry = self._entries.pop(name, None)
        if entry is None:
            return None
        self._by_kind[entry.ask.kind] -= 1
        names = self._by_workspace[entry.workspace]
        del names[name]
        if not names:
            del self._by_workspace[entry.workspace]
        self._step_out(entry)
        return entry

    def visit(self, name: str, visitors: int) -> None:
        """So many handshakes wait for a name now."""
        if (entry := self._entries.get(name)) is None:
            return
        lined = self._step_out(entry)
        entry.visitors = visitors
        entry.visited = True
        if lined:
            self._line_up(entry)

    def release(self, name: str, now: float) -> None:
        """The order of a name turned out to be placed already: it needs no budget any more."""
        if (entry := self._entries.get(name)) is None:
            return
        lined = self._step_out(entry)
        entry.free = True
        if lined or entry.not_before <= now:
            self._line_up(entry)

    def hurry(self, name: str, urgency: float) -> None:
        """A name that waits turned out to be more urgent, or is as urgent as it was."""
        if (entry := self._entries.get(name)) is None or urgency >= entry.urgency:
            return
        lined = self._step_out(entry)
        entry.urgency = urgency
        if lined:
            self._line_up(entry)

    def set_back(self, by: float) -> None:
        """The clock was set back, by so many seconds: nobody sleeps longer than was meant."""
        for entry in self:
            if entry.place is None:
                entry.not_before -= by
        self._sleeping = [(each.not_before, each.number, each.name) for each in self if each.place is None]
        heapq.heapify(self._sleeping)

    # Serving

    def take(self, now: float, room: Callable[[Lane], bool]) -> Entry | None:
        """Takes out the name whose turn it is; None where nobody's is now. `room`: whether a lane may have one more."""
        self._wake(now)
        while (ring := self._next_ring(now, room)) is not None:
            entry = self._entries[ring.first()]
            at = now if entry.free else self._budget.name_free_at(entry.ask, now)
            if at > now:
                # alone held up by a limit of its name or domain: the others of its workspace go on
                self._step_out(entry)
                entry.not_before = at
                entry.reason = self._budget.why(entry.ask, now) or "the CA's limit for its name or its domain is reached"
                self._sleep(entry)
                continue
            self.remove(entry.name)
            ring.served(entry.workspace)
            return entry
        return None

    def next_at(self, now: float, room: Callable[[Lane], bool]) -> float:
        """From when `take` may give another name if nothing else happens; inf: not before something does."""
        at = self._sleeping[0][0] if self._sleeping else math.inf
        for lane in LANES:
            if self._ready(lane) and room(lane):
                at = min(at, self._lane_free_at(lane, now))
        return at

    # Telling

    def turn(self, name: str, now: float) -> Turn | None:
        """Where a name stands; None where it does not wait."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        kind, lane = entry.ask.kind, self.lane(entry)
        if entry.place is None:
            before = 0
        else:
            rings = self._rings[lane]
            rank = entry.place[1]
            before = sum(ring.count for ring in rings[:rank]) + rings[rank].before(entry)
        alone = not any(self._ready(other) for other in KINDS if other != lane)
        counts = lane != "free"
        expected = self._budget.expected(kind, before, max(now, entry.not_before), alone=alone, counts=counts)
        reason = entry.reason if entry.not_before > now else self._budget.why(entry.ask, now)
        return Turn(kind, before + 1, expected, reason)

    def lane(self, entry: Entry) -> Lane:
        """What a name waits in."""
        return "free" if entry.free or not self._budget.counts(entry.ask) else entry.ask.kind

    def waiting(self) -> dict[Kind, int]:
        """How many wait, by kind."""
        return dict(self._by_kind)

    # Within

    def _ready(self, lane: Lane) -> bool:
        return any(ring.count for ring in self._rings[lane])

    def _lane_free_at(self, lane: Lane, now: float) -> float:
        if lane == "free":
            return self._budget.account_free_at("new", now, counts=False)
        return self._budget.account_free_at(lane, now)

    def _next_ring(self, now: float, room: Callable[[Lane], bool]) -> _Ring | None:
        """The ring whose first is to be served: of the lanes that can afford it, first those where somebody waits now and
        that have something left of their own share, then the one that has used least of its share."""
        best: tuple[float, float] | None = None
        found = None
        for lane in LANES:
            rings = self._rings[lane]
            if not self._ready(lane) or not room(lane) or self._lane_free_at(lane, now) > now:
                continue
            need = -1.0 if lane == "free" else self._budget.need(lane)
            watched = rings[_WATCHED].count > 0 and need < 1
            if best is None or (not watched, need) < best:
                best, found = (not watched, need), next(ring for ring in rings if ring.count)
        return found

    def _wake(self, now: float) -> None:
        while self._sleeping and self._sleeping[0][0] <= now:
            _, number, name = heapq.heappop(self._sleeping)
            entry = self._entries.get(name)
            if entry is not None and entry.number == number and entry.place is None:
                if entry.not_before > now:
                    heapq.heappush(self._sleeping, (entry.not_before, number, name))
                else:
                    self._line_up(entry)

    def _sleep(self, entry: Entry) -> None:
        heapq.heappush(self._sleeping, (entry.not_before, entry.number, entry.name))
        if len(self._sleeping) > 2 * len(self._entries) + 100:  # names that went away left theirs behind
            self._sleeping = [(each.not_before, each.number, each.name) for each in self if each.place is None]
            heapq.heapify(self._sleeping)

    def _line_up(self, entry: Entry) -> None:
        rank = _WATCHED if entry.visitors else _VISITED if entry.visited else _UNSEEN
        entry.place = (self.lane(entry), rank)
        self._rings[entry.place[0]][rank].add(entry)

    def _step_out(self, entry: Entry) -> bool:
        """Takes it out of its line; whether it stood in one."""
        if entry.place is None:
            return False
        self._rings[entry.place[0]][entry.place[1]].remove(entry)
        entry.place = None
        return True


def _key(entry: Entry) -> tuple[float, int, str]:
    return entry.urgency, entry.number, entry.name
