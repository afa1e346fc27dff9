"""Tables and files."""

import dataclasses

from bench.denied import Denied
from bench.figures import Sample
from bench.machine import Machine
from bench.pending import Pending
from bench.report import (
    Results,
    Run,
    costs_table,
    denied_table,
    markdown,
    page,
    pending_table,
    plain,
    ratios_table,
    rush_table,
    scale_table,
    slow_memory_table,
    slow_table,
    terminal_text,
)
from bench.rush import Rush
from bench.scale import Scale
from bench.slow import ALL, QUIET, Attacked, Phase
from bench.targets import OURS

MACHINE = Machine(
    processor="Some CPU", cores=2, kernel="6.1", python="3.11", openssl="OpenSSL 3", date="2026-01-01T00:00:00+00:00",
    commit="abc", load_average=0.1,
)  # fmt: skip


def sample(cpu_us: float) -> Sample:
    return Sample(requests=1000, seconds=1, cpu_us=cpu_us, busiest_us=cpu_us - 1, load=0.9, foreign=0.05)


def results(**changes: object) -> Results:
    values = {
        "machine": MACHINE,
        "versions": {"nginx": "1.22", OURS: "0.1"},
        "settings": {"rounds": 2, "window": 1.0, "disturbed": 0.1, "tenants": 16, "proxy": "0", "load": "1"},
        "samples": {
            "h1": {"nginx": [sample(25), sample(35)], OURS: [sample(30), sample(42)]},
            "h2": {"nginx": [sample(20)] * 2},
        },
        "never_seen": {OURS: [0.2, 0.3, 0.25]},
    }
    return Results(**(values | changes))  # type: ignore[arg-type]


def test_the_table_has_a_row_per_scenario_and_our_worker_by_itself():
    rows = costs_table(results())
    assert rows[0] == ["CPU µs per request", "nginx 1.22", f"{OURS} 0.1", "worker alone"]
    assert rows[1] == ["HTTP/1.1 keep-alive, 256 B", "30.0 [25.0–35.0]", "36.0 [30.0–42.0]", "35.0"]
    assert rows[2][2:] == ["–", "–"]


def test_ratios_leave_out_what_we_were_not_measured_in():
    assert ratios_table(results()) == [[f"{OURS} over", "nginx"], ["HTTP/1.1 keep-alive, 256 B", "1.20"]]


def test_a_run_of_the_peers_alone_has_no_ratios():
    alone = results(versions={"nginx": "1.22"}, samples={"h1": {"nginx": [sample(25)]}}, never_seen={})
    assert ratios_table(alone) == []
    assert "over" not in terminal_text(alone)


def test_tables_are_aligned_for_terminals_and_piped_for_pages():
    assert plain([["a", "b"], ["long", "c"]]) == "a     b\n-------\nlong  c"
    assert markdown([["a", "b"], ["1", "2"]]) == "| a | b |\n|---|---|\n| 1 | 2 |"


def test_the_page_says_when_where_and_with_what():
    text = page(results())
    for expected in ("2026-01-01", "Some CPU", "nginx 1.22", "reached: new-name: 0.250 s", "Access logs are off"):
        assert expected in text


def test_aims_are_told_apart_from_targets():
    samples = {"h1": {OURS: [sample(15)] * 2, "HAProxy": [sample(10)] * 2}}
    text = page(results(versions={OURS: "0.1", "HAProxy": "2"}, samples=samples))
    assert "- reached: h1: 1.50 × HAProxy, at most 1.6\n" in text
    assert "no run fails for them:\n\n- MISSED: h1: 1.50 × HAProxy, at most 1.25\n" in text
    assert "no run" not in page(results())


def test_the_page_says_how_much_others_disturbed():
    assert "Others used 5% of the proxies' core" in page(results())


def test_many_domains_have_a_table_of_their_own():
    assert scale_table(results()) == []
    scale = Scale(
        domains=100_000,
        start=[0.5, 0.4],
        cold=[0.0025, 0.003, 0.009],
        visited=9_000,
        private=[52_400_000, 50_000_000],
        added=[0.03],
        removed=[0.02],
    )
    rows = scale_table(results(scale=scale))
    assert rows[0][0] == f"{OURS} with 100,000 domains"
    assert rows[2][1:] == ["0.450 s", "0.400 s", "0.500 s", "2 starts"]
    assert rows[5] == [
        "a worker's private memory after visits to 9,000 names", "51.2 MB", "50.0 MB", "52.4 MB", "2 workers",
    ]  # fmt: skip
    assert rows[1][1:] == ["3.0 ms", "3.0 ms", "9.0 ms", "3 names"]
    assert "reached: scale: 52.4 MB private, below 80 MB" in page(results(scale=scale))


def test_names_that_nobody_registered_have_a_table_of_their_own():
    assert denied_table(results()) == []
    denied = Denied(
        names=1_000_000, cpu_us=[70, 68, 75], gated_us=[90, 80, 99], before=90_000_000, warm=96_000_000, after=96_400_000
    )
    rows = denied_table(results(denied=denied))
    assert rows[0][0] == f"{OURS} asked for 1,000,000 names that nobody registered"
    assert [row[1:] for row in rows[1:]] == [
        ["70.0 µs", "68.0 µs", "75.0 µs"],
        ["90.0 µs", "80.0 µs", "99.0 µs"],
        ["90.0 MB", "96.0 MB", "96.4 MB"],
    ]
    assert "reached: denied: +0.4 MB after 1,000,000 names, at most +3.0 MB" in page(results(denied=denied))


def test_visitors_at_the_same_moment_have_a_table_of_their_own():
    assert rush_table(results()) == []
    rows = rush_table(results(rush=Rush(one=[0.1, 0.2, 0.4], orders=1, many=[1.0, 2.0, 2.5])))
    assert rows[1:] == [
        ["3 visitors of one new name", "0.200 s", "0.100 s", "0.400 s", "1"],
        ["visitors of 3 new names", "2.000 s", "1.000 s", "2.500 s", "–"],
    ]


PENDING = Pending(
    domains=10_000,
    seconds=112.04,
    look_cpu_ms=4.02,
    asked_resolver=2.5,
    asked_authority=7.6,
    busiest=300,
    at_once=80,
    poll_cpu_ms=1.9,
    polls=[0.01] * 98 + [0.2] * 2,
    visits=[0.3],
    registered=[0.5, 0.7],
    registered_meanwhile=[0.8],
    appeared=[1.5],
    appeared_meanwhile=[2.0],
)


def test_domains_that_wait_have_a_table_of_their_own():
    assert pending_table(results()) == []
    rows = pending_table(results(pending=PENDING))
    assert rows[1][1:] == ["0.010 s", "0.200 s", "100 answers"]
    assert rows[3][1:] == ["0.600 s", "0.700 s", "2 names"]
    assert [row[1] for row in rows[7:]] == ["112.0 s", "4.0 ms", "1.9 ms", "2.5", "7.6", "300", "80"]
    assert "reached: pending: 10,000 domains looked at after 112 s, at most 300 s" in page(results(pending=PENDING))


def test_slow_clients_have_tables_of_their_own():
    assert slow_table(results()) == slow_memory_table(results()) == []
    phase = Phase(kept=[0.001, 0.002, 0.004], new=[0.003], late=[0.0, 0.0005], cpu=0.25, waited=0.04)
    attacked = Attacked(
        phases={QUIET: phase, ALL: phase},
        clients=10_000,
        came=12_000,
        ended=2_000,
        peak=400_000_000,
        proportional=390_000_000,
        kernel=2_000_000_000,
    )
    measured = results(slow={"head": attacked})
    figures = ["2.0 / 4.0 / 4.0 ms", "3.0 / 3.0 / 3.0 ms", "0.5 ms", "25%", "4%"]
    assert slow_table(measured)[1:] == [["no slow client yet (head)", *figures], ["10,000 (head) there", *figures]]
    assert slow_memory_table(measured)[1:] == [["head", "10,000", "12,000", "2,000", "400 MB", "390 MB", "2000 MB"]]


def test_each_table_says_when_it_was_measured_and_by_which_run():
    later = dataclasses.replace(MACHINE, date="2026-01-02T10:30:00+00:00", commit="def", load_average=None, kernel="6.2")
    run = Run(machine=later, versions={"nginx": "1.24"}, settings={"window": 0.5})
    text = page(results(rush=Rush(one=[0.1], orders=1, many=[1.0]), runs={"h2": run, "rush": run}))
    first = "measured on 2026-01-01 at 00:00 UTC, commit abc, load average 0.1, 2 rounds of 1 s."
    other = "measured on 2026-01-02 at 10:30 UTC, commit def"
    assert f"| 35.0 |\n| HTTP/2, 256 B | 20.0 [20.0–20.0] | – | – |\n\nh1: {first} h2: {other}, 2 rounds of 0.5 s, on" in text
    assert f"M{other[1:]}, on Some CPU, 2 cores, Linux 6.2, Python 3.11, OpenSSL 3, with nginx 1.24." in text
    assert "Measured on 2026-01-01 at 00:00 UTC, commit abc, load average 0.1.\n" in text  # new names
