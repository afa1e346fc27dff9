"""What the store gives and takes: frozen structs. Times are Unix times in seconds. Secrets are absent from their repr."""

from __future__ import annotations

import msgspec


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What every row has in common."""
