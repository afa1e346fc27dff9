"""The inputs that are kept: each file of `corpus/` is what was once worth a thought, under a name that says why."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"


def files(kind: str) -> dict[str, bytes]:
    """Name and content of each file beneath a folder of the corpus, in their order."""
    folder = FOLDER / kind
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
