"""What looks brought, written for many of them in one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from edgeproxy.control.domains.noting import MOST, Notes
from edgeproxy.control.store import Domain, Note, Store
from edgeproxy.errors import StateError


class Book:
    """What is written; `fails`: what is raised instead, once."""

    def __init__(self) -> None:
        self.written: list[list[str]] = []
        self.fails: Exception | None = None

    async def note_looks(self, notes: Sequence[Note], holder: str, now: float) -> list[Domain | None]:
        await asyncio.sleep(0)
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error
        assert (holder, now) == ("me", 5.0)
        self.written.append([note.hostname for note in notes])
        return [cast("Any", note.hostname) for note in notes]


def notes_of(book: Book) -> Notes:
    return Notes(cast("Store", book), "me", lambda: 5.0)


async def test_what_comes_together_is_written_together_and_each_gets_its_own() -> None:
    book = Book()
    notes = notes_of(book)
    names = [f"n{number}" for number in range(MOST + 10)]
    found = await asyncio.gather(*(notes.put(Note(name)) for name in names))
    assert [str(each) for each in found] == names
    assert book.written == [names[:MOST], names[MOST:]]
    assert await notes.put(Note("later")) == cast("Any", "later")


async def test_whoever_waits_is_told_that_it_could_not_be_written_and_the_next_are_written() -> None:
    book = Book()
    notes = notes_of(book)
    for error in (StateError("The disk is full."), ValueError("nobody foresaw this")):
        book.fails = error
        found = await asyncio.gather(*(notes.put(Note(name)) for name in "ab"), return_exceptions=True)
        assert found == [error, error]
    assert await notes.put(Note("c")) == cast("Any", "c")


async def test_the_end_waits_for_what_was_put_though_nobody_waits_for_it_any_more() -> None:
    book = Book()
    notes = notes_of(book)
    waiting = asyncio.create_task(notes.put(Note("a")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await notes.close()
    assert book.written == [["a"]]
    await notes_of(book).close()
