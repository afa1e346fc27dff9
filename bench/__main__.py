"""`python -m bench`: measures, prints a table, writes bench/RESULTS.md and bench/results.json: what was measured takes the
place of what was there of it, the rest stays.

Exit status: 0 all targets reached, 1 one missed or the run failed, 2 usage.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import denied, pending, slow
from bench.errors import BenchError
from bench.further import FURTHER
from bench.measure import Timing
from bench.peers.table import PEERS
from bench.records import merged, read, write
from bench.report import Results, terminal_text
from bench.run import Options, run
from bench.scale import FULL, QUICK
from bench.scenarios import ALONE, DENIED, LONG, NEVER_SEEN, PENDING, RUSH, SCALE, SCENARIOS, SLOW
from bench.targets import RATIO_TARGETS

_FOLDER = Path(__file__).parent
_FULL_LIMIT, _QUICK_LIMIT = 1_800.0, 300.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Edgeproxy beside nginx, HAProxy and Caddy.")
    parser.add_argument("--quick", action="store_true", help="only what has a target beside the others, in short rounds")
    parser.add_argument("--long", action="store_true", help="what takes minutes")
    names = [*(scenario.name for scenario in SCENARIOS), NEVER_SEEN, RUSH, DENIED, SCALE, PENDING, SLOW, *FURTHER]
    parser.add_argument(
        "--only", metavar="SCENARIO", action="append", choices=names, help=f"one of {', '.join(names)}; may be repeated"
    )
    parser.add_argument("--peers", metavar="NAMES", default=",".join(PEERS), help=f"of {','.join(PEERS)}; all by default")
    parser.add_argument("--rounds", type=int, help="rounds per scenario and peer, at most")
    parser.add_argument("--first", action="store_true", help="go before other work on the machine (needs root)")
    parser.add_argument("--no-assert", action="store_true", help="exit 0 where a target is missed")
    parser.add_argument("--no-write", action="store_true", help="leave RESULTS.md and results.json alone")
    return parser


def _options(values: argparse.Namespace, parser: argparse.ArgumentParser) -> Options:
    peers = values.peers.split(",")
    for name in peers:
        if name not in PEERS:
            parser.error(f"no such peer: {name!r}; there are {', '.join(PEERS)}")
    ours = "edgeproxy" in peers
    compared = {target.scenario for target in RATIO_TARGETS}
    targeted = compared | {NEVER_SEEN} | ({RUSH, DENIED} if ours else set())
    everything = {scenario.name for scenario in SCENARIOS} | {NEVER_SEEN}
    everything |= {RUSH, SCALE} if ours else set()
    everything |= {name for name, each in FURTHER.items() if each.always} if ours else set()
    long = LONG | {name for name, each in FURTHER.items() if not each.always and not each.named}
    wanted = set(values.only) if values.only else long if values.long else targeted if values.quick else everything
    return Options(
        peers=[name for name in PEERS if name in peers],
        scenarios=[scenario for scenario in SCENARIOS if scenario.name in wanted],
        never_seen=(5 if values.quick else 11) if NEVER_SEEN in wanted else 0,
        never_seen_peers=["edgeproxy"] if values.quick and ours else peers,  # that target is ours alone
        scale=(QUICK if values.quick else FULL) if SCALE in wanted else None,
        rush=RUSH in wanted,
        denied=(denied.QUICK if values.quick else denied.FULL) if DENIED in wanted else None,
        pending=(pending.QUICK if values.quick else pending.FULL) if PENDING in wanted else None,
        slow=(slow.QUICK if values.quick else slow.FULL) if SLOW in wanted else None,
        further=[name for name in FURTHER if name in wanted],
        quick=values.quick,
        compared=compared,
        rounds=values.rounds or (3 if values.quick else 11),
        seconds=36.0 if values.quick else 340.0,
        timing=Timing(settle=0.3, window=0.6) if values.quick else Timing(settle=0.5, window=1.4),
        patience=5.0 if values.quick else 40.0,
        niceness=-10 if values.first else 0,
        work=_FOLDER / "work",
    )


async def _bounded(options: Options, seconds: float) -> Results:
    """The run as a task that SIGTERM cancels, so that everything it started is ended."""
    task = asyncio.ensure_future(run(options))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await asyncio.wait_for(task, seconds)
    except TimeoutError:
        raise BenchError(f"The run took longer than {seconds:.0f} s and was ended.") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status."""
    parser = _parser()
    values = parser.parse_args(arguments)
    try:
        earlier = None if values.no_write else read(_FOLDER)
        results = asyncio.run(_bounded(_options(values, parser), _QUICK_LIMIT if values.quick else _FULL_LIMIT))
    except BenchError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("\nInterrupted; everything that was started has been ended.", file=sys.stderr)
        return 1
    print(terminal_text(results))
    if len(values.peers.split(",")) < len(PEERS) and not set(results.parts) <= ALONE and not values.no_write:
        print("\nNothing was written: what is kept is measured beside all of them (--peers).", file=sys.stderr)
    elif not values.no_write:
        write(merged(earlier, results), _FOLDER)
    return 0 if values.no_assert or all(outcome.reached for outcome in results.outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
