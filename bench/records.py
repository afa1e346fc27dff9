"""results.json: everything that was measured, each part with the run that measured it. Pure but for `read` and `write`.

A run that measures some parts alone leaves the others as they are, with the date, the commit and the versions of their own
run; RESULTS.md is made from all of them.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.denied import Denied
from bench.errors import BenchError
from bench.figures import Sample, percentile, summarise
from bench.further import FURTHER
from bench.machine import Machine
from bench.pending import Pending
from bench.report import Results, Run, page
from bench.rush import Rush
from bench.scale import Scale
from bench.scenarios import DENIED, NEVER_SEEN, PENDING, RUSH, SCALE, SCENARIOS, SLOW
from bench.slow import Attacked, Phase

_PLAIN = {SCALE: Scale, RUSH: Rush, DENIED: Denied}
"""Parts that are kept as they are: name, and so field of Results → what came of it."""

_ORDER = [scenario.name for scenario in SCENARIOS]

_TIMES = ("kept", "new", "late")
"""Fields of a phase among slow clients that hold very many seconds."""


def as_data(results: Results) -> dict[str, Any]:
    """What results.json holds: everything, with each round."""
    runs = {part: results.run_of(part) for part in results.parts}
    return {
        "machine": dataclasses.asdict(results.machine),
        "versions": dict(results.versions),
        "settings": dict(results.settings),
        "runs": {run.machine.date: dataclasses.asdict(run) for run in runs.values()},
        "measured": {part: run.machine.date for part, run in runs.items()},
        "scenarios": {
            scenario: {
                peer: {
                    "summary": dataclasses.asdict(summarise(rounds)),
                    "rounds": [dataclasses.asdict(sample) for sample in rounds],
                }
                for peer, rounds in peers.items()
            }
            for scenario, peers in results.samples.items()
        },
        NEVER_SEEN: {peer: list(times) for peer, times in results.never_seen.items()},
        **{part: _plain_data(getattr(results, part)) for part in _PLAIN},
        PENDING: _pending_data(results.pending) if results.pending is not None else None,
        SLOW: {kind: _slow_data(each) for kind, each in results.slow.items()},
        **{name: dataclasses.asdict(part) for name, part in results.further.items()},
        "targets": [dataclasses.asdict(outcome) for outcome in results.outcomes],
        "aims": [dataclasses.asdict(outcome) for outcome in results.aims],
    }


def _plain_data(value: Any) -> dict[str, Any] | None:
    return dataclasses.asdict(value) if value is not None else None


def _pending_data(pending: Pending) -> dict[str, Any]:
    """Of ten thousand answers' seconds those at each percent, the fastest and the slowest among them."""
    polls = {f"{share}%": round(percentile(pending.polls, share / 100), 4) for share in range(101)}
    return dataclasses.asdict(pending) | {"polls": polls, "answers": len(pending.polls)}


def _slow_data(attacked: Attacked) -> dict[str, Any]:
    """The same of the others' answers."""
    data = dataclasses.asdict(attacked)
    for name, phase in attacked.phases.items():
        for field in _TIMES:
            times = getattr(phase, field)
            data["phases"][name][field] = {f"{share}%": round(percentile(times, share / 100), 5) for share in range(101)}
            data["phases"][name][f"{field}_count"] = len(times)
    return data


def restore(data: Mapping[str, Any]) -> Results:
    """What `as_data` was given, as far as it is kept: of very many times so many with the same percentiles. Raises KeyError or
    TypeError where it is something else."""
    runs = {date: _run(run) for date, run in data["runs"].items()}
    plain: dict[str, Any] = {part: kind(**data[part]) if data.get(part) else None for part, kind in _PLAIN.items()}
    return Results(
        **_run_fields(data),
        runs={part: runs[date] for part, date in data["measured"].items()},
        samples={
            scenario: {peer: [Sample(**sample) for sample in each["rounds"]] for peer, each in peers.items()}
            for scenario, peers in data["scenarios"].items()
        },
        never_seen=data[NEVER_SEEN],
        **plain,
        pending=_pending(data[PENDING]) if data.get(PENDING) else None,
        slow={kind: _attacked(each) for kind, each in (data.get(SLOW) or {}).items()},
        further={name: each.read(data[name]) for name, each in FURTHER.items() if data.get(name)},
    )


def _run_fields(data: Mapping[str, Any]) -> dict[str, Any]:
    return {"machine": Machine(**data["machine"]), "versions": data["versions"], "settings": data["settings"]}


def _run(data: Mapping[str, Any]) -> Run:
    return Run(**_run_fields(data))


def _pending(data: Mapping[str, Any]) -> Pending:
    values = dict(data)
    return Pending(**values | {"polls": expanded(values["polls"], values.pop("answers"))})


def _attacked(data: Mapping[str, Any]) -> Attacked:
    phases = {}
    for name, phase in data["phases"].items():
        times = {field: expanded(phase[field], phase[f"{field}_count"]) for field in _TIMES}
        phases[name] = Phase(cpu=phase["cpu"], waited=phase["waited"], **times)
    return Attacked(**{**data, "phases": phases})


def expanded(percentiles: Mapping[str, float], count: int) -> list[float]:
    """`count` times whose percentiles are these, of each whole percent from "0%" to "100%"."""
    return [percentiles[f"{math.ceil(100 * place / count)}%"] for place in range(count)]


def merged(old: Results | None, new: Results) -> Results:
    """The parts that the new run measured, and the others as they were."""
    if old is None:
        return new
    taken = {field: getattr(new, field) or getattr(old, field) for field in ("never_seen", *_PLAIN, "pending", "slow")}
    samples = {**old.samples, **new.samples}
    further = {**old.further, **new.further}
    return dataclasses.replace(
        new,
        versions={**old.versions, **new.versions},
        runs={**{part: old.run_of(part) for part in old.parts}, **{part: new.run_of(part) for part in new.parts}},
        samples={name: samples[name] for name in sorted(samples, key=_ORDER.index)},
        further={name: further[name] for name in FURTHER if name in further},
        **taken,
    )


def read(folder: Path) -> Results | None:
    """What results.json in `folder` holds; None where there is none. Raises BenchError where it is not understood."""
    path = folder / "results.json"
    try:
        return restore(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(
            f"{path} was written by another version of the bench ({type(error).__name__}: {error}). Take the committed one "
            "again, or move it away and measure everything."
        ) from None


def write(results: Results, folder: Path) -> None:
    """Writes RESULTS.md and results.json into `folder`."""
    (folder / "RESULTS.md").write_text(page(results))
    (folder / "results.json").write_text(json.dumps(as_data(results), indent=1, ensure_ascii=False) + "\n")
