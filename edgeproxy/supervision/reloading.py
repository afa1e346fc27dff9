"""What a reload is, what it may change, and what is said about it. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import msgspec

from edgeproxy.config.structs import Config
from edgeproxy.supervision.children import Child, Plan

RESTART_ONLY = (
    "state.directory",
    "state.key",
    "store.url",
    "process.user",
    "process.worker_user",
    "process.group",
)
"""Keys that are fixed from the first fork on: the lock, the map's key and the users hang on them."""


GENERATIONS = 8
"""Earlier configurations whose workers may still finish what is open. Each has its workers and their memory, for as long as its
slowest request takes, up to `timeouts.drain`."""


@dataclasses.dataclass(slots=True)
class Reload:
    """A reload under way: workers of the next configuration, not all of them ready yet."""

    plan: Plan
    changed: list[str]
    added: list[str]
    deadline: float
    asked_by: Child | None
    request: int
    workers: dict[int, Child] = dataclasses.field(default_factory=dict)


def crowded(draining: Iterable[int]) -> str:
    """Why there can be no further reload just now, by the generations of the workers that drain; "" when there can."""
    generations = len(set(draining))
    if generations < GENERATIONS:
        return ""
    return (
        f"Workers of {generations} earlier configurations still finish what is open. Nothing was changed; try again when one "
        "of these has ended, at the latest after timeouts.drain. A SIGHUP waits for that by itself."
    )


def changed_keys(before: Config, after: Config) -> list[str]:
    """Every key whose value differs, as "listen.https"; never a value, since some are secret."""
    return list(_changed(before, after, ""))


def refusal(changed: list[str]) -> str:
    """Why these changes cannot be made by a reload; "" when they can."""
    fixed = [key for key in changed if key in RESTART_ONLY]
    if not fixed:
        return ""
    names = ", ".join(fixed)
    return (
        f"{names} cannot change while the program runs. Nothing was changed; restart it for that (edgeproxy stop, then serve)."
    )


def summary(generation: int, workers: int, changed: list[str], added: list[str], removed: list[str]) -> str:
    """One sentence on what is in effect now."""
    parts = [f"Configuration {generation} is in effect, with {workers} worker{'' if workers == 1 else 's'}"]
    if added:
        parts.append("now also listening on " + ", ".join(added))
    if removed:
        parts.append("no longer listening on " + ", ".join(removed))
    parts.append("changed: " + ", ".join(changed) if changed else "no key has another value")
    return "; ".join(parts) + "."


def _changed(before: msgspec.Struct, after: msgspec.Struct, prefix: str) -> Iterator[str]:
    for field in type(before).__struct_fields__:
        old, new = getattr(before, field), getattr(after, field)
        if old == new:
            continue
        if isinstance(old, msgspec.Struct) and isinstance(new, msgspec.Struct):
            yield from _changed(old, new, f"{prefix}{field}.")
        else:
            yield prefix + field
