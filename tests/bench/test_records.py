"""What is kept of runs, and how a run that measured a part takes its place among them."""

import dataclasses
import json
from pathlib import Path

import pytest

from bench.denied import Denied
from bench.errors import BenchError
from bench.figures import percentile
from bench.records import as_data, expanded, merged, read, restore, write
from bench.report import Results, page
from bench.routing import Routing
from bench.rush import Rush
from bench.scale import Scale
from bench.slow import ALL, QUIET, Attacked, Phase
from bench.targets import OURS

from .test_report import MACHINE, PENDING, results, sample

PHASE = Phase(kept=[0.001, 0.002, 0.004], new=[0.003], late=[0.0, 0.0005], cpu=0.25, waited=0.04)


def everything() -> Results:
    return results(
        scale=Scale(
            domains=9, start=[0.5, 0.4], cold=[0.0025] * 9, visited=9, private=[52_400_000], added=[0.03], removed=[0.02]
        ),
        rush=Rush(one=[0.1, 0.2], orders=1, many=[1.0]),
        denied=Denied(names=9, cpu_us=[70.0], gated_us=[71.0], before=1, warm=2, after=3),
        pending=PENDING,
        slow={
            "head": Attacked(
                phases={QUIET: PHASE, ALL: PHASE}, clients=9, came=12, ended=2, peak=400_000_000, proportional=1, kernel=2
            )
        },
        further={"routing": Routing(sites=9, warm=[0.5], unseen=[4.0])},
    )


def test_the_files_are_written_and_the_data_has_every_round(tmp_path: Path):
    write(everything(), tmp_path)
    data = json.loads((tmp_path / "results.json").read_text())
    assert [each["cpu_us"] for each in data["scenarios"]["h1"][OURS]["rounds"]] == [30, 42]
    assert (data["pending"]["busiest"], data["pending"]["answers"], len(data["pending"]["polls"])) == (300, 100, 101)
    assert [data["pending"]["polls"][share] for share in ("0%", "97%", "99%", "100%")] == [0.01, 0.01, 0.2, 0.2]
    slow = data["slow"]["head"]
    assert (slow["peak"], slow["phases"][ALL]["kept_count"], slow["phases"][ALL]["kept"]["50%"]) == (400_000_000, 3, 0.002)
    assert data["measured"]["scale"] == MACHINE.date
    assert (tmp_path / "RESULTS.md").read_text() == page(everything())


def test_what_is_read_again_gives_the_same_page_and_the_same_data(tmp_path: Path):
    write(everything(), tmp_path)
    again = read(tmp_path)
    assert again is not None
    assert page(again) == page(everything())
    assert as_data(again) == json.loads((tmp_path / "results.json").read_text())


@pytest.mark.parametrize("count", [1, 2, 3, 99, 100, 101, 777])
def test_times_that_are_kept_by_their_percentiles_have_them_again(count: int):
    times = [number**2 / 7 for number in range(count)]
    kept = {f"{share}%": percentile(times, share / 100) for share in range(101)}
    again = expanded(kept, count)
    assert len(again) == count
    assert {f"{share}%": percentile(again, share / 100) for share in range(101)} == kept


def test_a_run_of_a_part_leaves_the_others_with_the_date_and_versions_of_their_own():
    old = everything()
    machine = dataclasses.replace(MACHINE, date="2026-02-02T00:00:00+00:00", commit="new")
    rush = Rush(one=[0.3], orders=1, many=[2.0])
    h2 = {"h2": {OURS: [sample(21)]}}
    partial = dataclasses.replace(results(never_seen={}, rush=rush, samples=h2, versions={OURS: "0.2"}), machine=machine)
    both = restore(json.loads(json.dumps(as_data(merged(old, partial)))))
    assert {part: both.run_of(part).machine.commit for part in both.parts} == {
        **dict.fromkeys(("h1", "new-name", "scale", "denied", "pending", "slow", "routing"), "abc"),
        **dict.fromkeys(("h2", "rush"), "new"),
    }
    assert (both.run_of("h1").versions[OURS], both.versions) == ("0.1", {"nginx": "1.22", OURS: "0.2"})
    assert list(both.samples) == ["h1", "h2"]
    assert (both.samples["h2"], both.samples["h1"], both.rush) == (h2["h2"], old.samples["h1"], rush)
    assert (both.never_seen, both.scale, both.denied) == (old.never_seen, old.scale, old.denied)
    assert merged(None, partial) is partial


def test_another_versions_file_is_said_to_be_that_and_not_overwritten(tmp_path: Path):
    assert read(tmp_path) is None
    (tmp_path / "results.json").write_text('{"machine": {}}')
    with pytest.raises(BenchError, match=r"results\.json was written by another version of the bench \(KeyError: 'runs'\)"):
        read(tmp_path)
