"""A change of the state key in a process of its own, which may be killed on the way.

`rotate_once(state[, step])` kills itself (SIGKILL) when it was told of that step, or, for "sealing",
with everything sealed anew but not committed.
"""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path

from edgeproxy.config.structs import Config
from edgeproxy.control import rekey
from edgeproxy.control.store import sealed
from edgeproxy.control.store.sealed import Report, Sealers


def rotate_once(state: str, death: str = "") -> None:
    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def told(step: str) -> None:
        print(step, flush=True)
        if step == death:
            die()

    reseal = sealed.reseal

    def resealing(connection: sqlite3.Connection, old: Sealers, new: Sealers) -> Report:
        report = reseal(connection, old, new)
        if death == "sealing":
            die()
        return report

    sealed.reseal = resealing
    rotated = rekey.rotate(Config(), Path(state), told)
    print("finished" if rotated.finished else "rotated")
