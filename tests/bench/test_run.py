"""How long disturbed rounds are repeated."""

import itertools
from types import SimpleNamespace
from typing import Any

import pytest

from bench import run
from bench.errors import Starved
from bench.figures import Sample
from bench.run import LEAST_ROUNDS, Clock, Patience
from bench.scenarios import SCENARIOS


def test_patience_ends_when_its_seconds_are_spent():
    patience = Patience(5.0)
    assert [patience.spend(2.0) for _ in range(3)] == [True, True, False]
    assert patience.spend(1.0)


def test_rounds_end_when_another_one_would_not_be_over_in_time():
    clock = Clock(rounds=9, seconds=45.0, begun_at=100.0)
    began = [now for now in range(100, 200, 10) if clock.another(float(now))]
    assert began == [100, 110, 120, 130]


def test_some_rounds_are_made_however_long_they_take_and_never_more_than_asked_for():
    slow, fast = Clock(rounds=9, seconds=1.0, begun_at=0.0), Clock(rounds=2, seconds=1e9, begun_at=0.0)
    assert sum(slow.another(now * 100.0) for now in range(50)) == LEAST_ROUNDS
    assert sum(fast.another(float(now)) for now in range(50)) == 2


def test_what_has_a_target_is_measured_every_time_and_the_rest_every_other_time():
    scenarios = SCENARIOS[:4]
    compared = {scenarios[0].name, scenarios[3].name}
    assert [run.due(scenarios, compared, turn) for turn in range(3)] == [scenarios, [scenarios[0], scenarios[3]], scenarios]
    assert run.due(scenarios[1:3], compared, 1) == scenarios[1:3]  # nothing has one


@pytest.mark.parametrize(("starved", "figure"), [(0, 1.0), (2, 3.0), (3, None)])
async def test_a_round_without_an_answer_is_tried_again(monkeypatch: pytest.MonkeyPatch, starved: int, figure: float | None):
    calls = itertools.count(1)

    async def measure(*_: object) -> Sample:
        number = next(calls)
        if number <= starved:
            raise Starved("no answer at all")
        return Sample(requests=1, seconds=1.0, cpu_us=float(number), busiest_us=1.0, load=1.0, foreign=0.0)

    monkeypatch.setattr(run, "measure", measure)
    nothing: Any = SimpleNamespace(timing=None)
    tried = run._sample(nothing, nothing, nothing, nothing, nothing, 0, Patience(0.0))
    if figure is None:
        with pytest.raises(Starved):
            await tried
    else:
        assert (await tried).cpu_us == figure
