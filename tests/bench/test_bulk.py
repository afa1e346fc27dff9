"""The file of the import, and the plan of renewals."""

import dataclasses
import json
import statistics
from typing import Any

from bench.bulk import RATE, WRONG, Bulk, renewals, tenant_of, write_file
from bench.further import FURTHER
from bench.many import WILDCARD
from edgeproxy.model import hostname


def imported(**changes: Any) -> Bulk:
    figures: dict[str, Any] = {
        "domains": 1_000_000,
        "certificates": 100_000,
        "seconds": 299.0,
        "changes": [0.09] * 95 + [0.2] * 4,
        "pages": {"first page": [0.01] * 30, "deep page": [0.02] * 30},
        "registrations": [0.01] * 101,
        "rate": 499.0,
        "controller": 290_000_000,
        "workers_before": [12_000_000, 11_000_000],
        "workers_after": [11_000_000, 14_000_000],
        "renewals": [9, 100, 101, 109, 30],
    }
    return Bulk(**figures | changes)


def test_its_targets() -> None:
    assert [outcome.reached for outcome in imported().outcomes()] == [True] * 7
    late = imported(seconds=301.0, changes=[0.09] * 90 + [0.2] * 10, pages={"first page": [0.01], "deep page": [0.06]})
    assert [outcome.reached for outcome in late.outcomes()] == [False] * 3 + [True] * 4
    assert "(deep page) after 60 ms" in late.outcomes()[2].text
    large = imported(rate=RATE * 0.97, controller=301_000_000, renewals=[100, 100, 120], workers_after=[16_000_000])
    assert [outcome.reached for outcome in large.outcomes()] == [True] * 3 + [False] * 4
    assert not imported(registrations=[0.01] * 90 + [2.0] * 11).outcomes()[3].reached


def test_its_table_has_all_figures_and_comes_back_from_json() -> None:
    (rows,) = imported().tables()
    assert len({len(row) for row in rows}) == 1
    assert rows[1][1:] == ["90 ms", "90 ms", "200 ms"]
    assert ["until all were stored and served", "299 s, 3,344/s", "–", "–"] in rows
    assert rows[-1][1] == "11.0 / 14.0 MB"
    again = FURTHER["import"].read(json.loads(json.dumps(dataclasses.asdict(imported()))))
    assert again == imported()


def test_the_file_has_all_domains_in_no_order_and_the_wrong_lines(tmp_path):
    path = tmp_path / "domains.csv"
    write_file(path, 500)
    header, wildcard, *lines = path.read_text().splitlines()
    assert (header, wildcard) == ("hostname,workspace", f"{WILDCARD},nobody")
    wrong = [line for line in lines if line.startswith("wrong ")]
    right = [line for line in lines if not line.startswith("wrong ")]
    assert (len(wrong), len(right)) == (WRONG, 500)
    known = [f"{tenant.hostname},{tenant.workspace}" for tenant in map(tenant_of, range(500))]
    assert right != known
    assert sorted(right) == sorted(known)
    assert hostname(tenant_of(999_999).hostname) == "shop.customer0999999.com"


def test_certificates_of_one_hour_are_renewed_over_two_days_and_as_many_in_each_hour():
    due = renewals(20_000)
    assert sum(due) == 20_000
    assert 43 <= len(due) <= 46
    middle = statistics.median(due)
    assert max(due) < 1.3 * middle
    assert min(due[1:-2]) > 0.7 * middle
