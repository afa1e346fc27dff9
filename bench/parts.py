"""Measurements of their own kind, each in a module of its own: what such a module offers, and what comes of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Protocol

from bench.origin import Origin
from bench.stage import Stage
from bench.targets import Outcome

Table = list[list[str]]
"""Rows, the heading first."""


class Part(Protocol):
    """What came of one: a dataclass of figures that knows how they are told."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    def tables(self) -> list[Table]:
        """For the report; those without a row but the heading are left out by the part itself."""

    def outcomes(self) -> list[Outcome]:
        """Of its targets."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One kind of measurement."""

    measure: Callable[[Stage, Origin, Sequence[str], bool], Awaitable[Part]]
    """On a stage, with the origin, for peers by their names on the command line; True: the quick form. Raises BenchError where
    it cannot be made, WrongAnswer where its figures would not count."""
    read: Callable[[Any], Part]
    """A part from what `dataclasses.asdict` made of it, after JSON."""
    note: str
    """For the page: how it was measured. A list item of Markdown, "- " included."""
    always: bool = False
    """Whether a whole run has it; else it is measured only when it is named."""
    named: bool = False
    """Whether it is made by no run but one that names it: it takes a quarter of an hour."""
