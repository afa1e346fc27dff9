"""What counts as the right answer."""

import dataclasses

import pytest

from bench.errors import WrongAnswer
from bench.load.client import Answer, check, expected_body
from bench.traffic import SMALL_BODY, tenants

ALICE, BOB = tenants(2)
RIGHT = Answer(200, {"x-bench-workspace": ALICE.workspace, "x-bench-path": "/a"}, expected_body(ALICE, "/a"))


def test_the_right_answer_passes():
    check(RIGHT, ALICE, "/a")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": 502}, "answered 502"),
        ({"fields": {"x-bench-workspace": BOB.workspace, "x-bench-path": "/a"}}, "routed to workspace"),
        ({"fields": {"x-bench-workspace": ALICE.workspace, "x-bench-path": "/b"}}, "given the answer to '/b'"),
        ({"fields": {}}, "routed to workspace None"),
        ({"body": expected_body(BOB, "/a")}, "wrong body"),
        ({"body": RIGHT.body[:-1]}, "wrong body"),
    ],
)
def test_anything_else_is_refused_with_its_reason(changes, reason):
    with pytest.raises(WrongAnswer, match=reason):
        check(dataclasses.replace(RIGHT, **changes), ALICE, "/a")


@pytest.mark.parametrize(("path", "length"), [("/x", SMALL_BODY), ("/64k/x", 65536), ("/1m/x", 1048576)])
def test_bodies_have_the_length_of_their_scenario(path, length):
    assert len(expected_body(ALICE, path)) == length
