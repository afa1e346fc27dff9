"""Who was told what: each condition is told once, and once more when it is over. Pure.

What was told is kept in the store, so that another process does not tell it again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import msgspec

from edgeproxy.control.alerts.conditions import KINDS, WINDOW, WORSE, Condition, Key
from edgeproxy.control.store import Alert

AGAIN_SECONDS = 3_600.0
"""For which a condition that was told is not told again, though it was over meanwhile."""

OVER_SECONDS = 120.0
"""For which what is measured must be well before it is said to be over."""

PAUSE_SECONDS = 300.0
"""Between two messages of one kind: what comes meanwhile goes together into the next."""

FORGET_SECONDS = 7 * 86_400.0
"""After which a condition of an event that nothing has ended is forgotten."""

OPEN = 2_000
"""Conditions at once. Above it further ones are not told."""

SHOWN = 10
"""Subjects that one message names."""


@dataclasses.dataclass(frozen=True, slots=True)
class Message:
    """What is to be said of one kind."""

    kind: str
    keys: tuple[Key, ...]
    over: bool
    title: str
    body: str


class Book:
    """The conditions that there are, and what was told of them. `began` is when the process began; all times are Unix times."""

    def __init__(self, told: Iterable[Alert], began: float) -> None:
        self._told = {(each.kind, each.subject): each for each in told if each.kind in KINDS}
        self._began = began
        self._open: dict[Key, Condition] = {}
        self._since: dict[Key, float] = {}
        self._last: dict[tuple[str, bool], float] = {}
        self._ended: set[Key] = set()
        self._well_since: dict[Key, float] = {}
        self._changed: dict[Key, Alert] = {}
        for key, alert in self._told.items():
            if alert.over_at is None:
                self._open[key] = Condition(*key)
                self._since[key] = alert.since

    def begin(self, condition: Condition, now: float) -> None:
        """An event says that something is wrong since then. One that was told later already is old news."""
        alert = self._told.get(condition.key)
        if alert is not None and now <= max(alert.told_at, alert.over_at or 0.0):
            return
        for kind in WORSE.get(condition.kind, ()):
            self._drop((kind, condition.subject), now)
        if condition.key in self._open or len(self._open) < OPEN:
            self._since.setdefault(condition.key, now)
            self._open[condition.key] = condition
            self._ended.discard(condition.key)

    def end(self, keys: Iterable[Key], now: float) -> None:
        """An event says that these are over since then."""
        for key in keys:
            if key in self._open and now >= self._since[key]:
                self._ended.add(key)

    def measure(self, found: Sequence[Condition], now: float) -> None:
        """What a look found, of all that is measured."""
        present = {each.key for each in found}
        for condition in found:
            self._well_since.pop(condition.key, None)
            self._ended.discard(condition.key)
            if condition.key in self._open or len(self._open) < OPEN:
                self._since.setdefault(condition.key, now)
                self._open[condition.key] = condition
        for key in [key for key in self._open if KINDS[key[0]].measured and key not in present]:
            well = self._well_since.setdefault(key, now)
            # A process that has just begun does not know yet what its predecessor saw.
            if now - well >= OVER_SECONDS and now - self._began >= WINDOW:
                self._ended.add(key)

    def due(self, now: float) -> list[Message]:
        """What is to be said now. Call `said` with each that got through; others come again."""
        for key in [key for key, since in self._since.items() if now - since > FORGET_SECONDS and not KINDS[key[0]].measured]:
            self._drop(key, now)
        for key in [key for key in self._ended if not self._is_told(key)]:
            self._drop(key, now)  # it was over before anybody was told
        messages = []
        for kind in KINDS:
            news = [key for key in self._open if key[0] == kind and key not in self._ended and self._worth_telling(key, now)]
            over = [key for key in self._ended if key[0] == kind]
            for keys, is_over in ((news, False), (over, True)):
                if keys and now - self._last.get((kind, is_over), 0.0) >= PAUSE_SECONDS:
                    messages.append(self._message(kind, sorted(keys), over=is_over))
        return messages

    def said(self, message: Message, now: float) -> None:
        """Notes that it was said."""
        self._last[message.kind, message.over] = now
        for key in message.keys:
            if message.over:
                self._drop(key, now)
            else:
                self._note(Alert(kind=key[0], subject=key[1], since=self._since.get(key, now), told_at=now))

    def changes(self) -> list[Alert]:
        """What the store is to keep of what became of it since the last call."""
        changed, self._changed = list(self._changed.values()), {}
        return changed

    def forget(self, now: float) -> None:
        """Drops what was over long ago."""
        for key, alert in list(self._told.items()):
            if alert.over_at is not None and now - alert.told_at > AGAIN_SECONDS:
                del self._told[key]

    def _is_told(self, key: Key) -> bool:
        alert = self._told.get(key)
        return alert is not None and alert.over_at is None

    def _worth_telling(self, key: Key, now: float) -> bool:
        alert = self._told.get(key)
        return alert is None or (alert.over_at is not None and now - alert.told_at >= AGAIN_SECONDS)

    def _note(self, alert: Alert) -> None:
        self._told[alert.kind, alert.subject] = self._changed[alert.kind, alert.subject] = alert

    def _drop(self, key: Key, now: float) -> None:
        alert = self._told.get(key)
        if alert is not None and alert.over_at is None:
            self._note(msgspec.structs.replace(alert, over_at=now))
        self._open.pop(key, None)
        self._since.pop(key, None)
        self._well_since.pop(key, None)
        self._ended.discard(key)

    def _message(self, kind: str, keys: list[Key], *, over: bool) -> Message:
        what = KINDS[kind]
        lines = [self._line(key, over=over) for key in keys[:SHOWN]]
        if len(keys) > SHOWN:
            lines.append(f"And {len(keys) - SHOWN} more.")
        title = what.title.format(keys[0][1]) + (f", and {len(keys) - 1} more" if len(keys) > 1 else "")
        if over:
            return Message(kind, tuple(keys), True, f"Over: {title}", "\n".join(lines))
        if not what.title.startswith("{}"):  # a hostname stays as it is
            title = title[:1].upper() + title[1:]
        return Message(kind, tuple(keys), False, title, "\n".join([*lines, "", f"What to do: {what.todo}"]))

    def _line(self, key: Key, *, over: bool) -> str:
        condition = self._open.get(key)
        why = condition.why if condition is not None and not over else ""
        if over:
            return f"{key[1] or KINDS[key[0]].title}: over."
        return f"{key[1]}: {why}" if key[1] and why else why or key[1] or KINDS[key[0]].title
