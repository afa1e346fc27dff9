"""What can go wrong in a benchmark run."""

from __future__ import annotations


class BenchError(Exception):
    """The run cannot go on, or its figures would not be worth anything. The text says why, in a sentence."""


class WrongAnswer(BenchError):
    """A proxy gave an answer that it must not give, so none of its figures counts."""


class Starved(BenchError):
    """A load process got no answer at all in a whole round: the machine had no time for it."""
