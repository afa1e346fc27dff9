"""How long disturbed rounds are repeated."""

from bench.run import Patience


def test_patience_ends_when_its_seconds_are_spent():
    patience = Patience(5.0)
    assert [patience.spend(2.0) for _ in range(3)] == [True, True, False]
    assert patience.spend(1.0)
