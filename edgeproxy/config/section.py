"""What every table of the configuration has in common."""

from __future__ import annotations

import msgspec


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table. Keys that it does not have are errors; each key's docstring is its manual."""
