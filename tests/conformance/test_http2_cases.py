"""RFC 9113 and RFC 7541, rule by rule: each case against the adapter alone, and then against a worker over TLS."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from pathlib import Path

import pytest

from tests.conformance.http2_cases import DIFFERENCES, H2SPEC
from tests.conformance.http2_frames import Case
from tests.conformance.http2_judge import judge, run_alone, run_over_tls
from tests.conformance.http2_own_cases import DEPENDS_ON_TIME, OWN
from tests.edge.harness import Edge

CASES = [*H2SPEC, *OWN]
BEGINNINGS = tuple(f"| {each}/" for each in ("generic", "hpack", "http2", "9113", "9110", "8441", "7541"))
PAGE = Path(__file__).parents[2] / "docs" / "conformance.md"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_a_case_has_its_outcome(case: Case) -> None:
    frames, ended = run_alone(case)
    assert judge(case, [one for step in frames for one in step], ended) == ""


async def test_every_case_has_its_outcome_over_tls_too(edge: Edge) -> None:
    def run() -> list[str]:
        context = edge.client_context("h2")
        return [
            fault
            for case in CASES
            if case.name not in DEPENDS_ON_TIME and (fault := judge(case, *run_over_tls(case, edge.port, context)))
        ]

    assert await asyncio.to_thread(run) == []


def test_names_are_said_once_and_differences_have_their_reason() -> None:
    assert len({case.name for case in CASES}) == len(CASES)
    assert {case.difference for case in CASES} - {""} == DIFFERENCES.keys()


def test_the_page_says_of_every_case_what_we_do() -> None:
    text = PAGE.read_text()
    told = [line for line in text.splitlines() if line.startswith(BEGINNINGS)]
    assert told == [
        f"| {case.name} | {case.sent} | {case.outcome}{f' ({case.difference})' if case.difference else ''} |" for case in CASES
    ]
    assert [line for line in DIFFERENCES.items() if "- **{}**: {}".format(*line) not in text] == []
    count = Counter(case.name.partition("/")[0] for case in H2SPEC)
    assert f"{len(H2SPEC)} cases of h2spec ({count['generic']} generic, {count['http2']} http2, {count['hpack']} hpack)" in text
    assert f"{len(OWN)} cases of our own" in text


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[a-z0-9_/]+\.py)::(test_\w+)", PAGE.read_text())
    assert len(named) > 15
    missing = [(path, name) for path, name in named if f"def {name}(" not in (PAGE.parents[1] / path).read_text()]
    assert missing == []
