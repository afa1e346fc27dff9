"""structlog for the control plane: the same lines as the other processes', readable on a terminal, else JSON, to stderr.

Libraries' own loggers come out as warnings and errors of the same form. Configured once, by the controller's main.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import MutableMapping
from typing import Any

import structlog

from edgeproxy.config.monitoring import Log as LogConfig
from edgeproxy.log import LEVELS, Log, Sink

FRAMES = 6
"""Innermost frames of a traceback that are logged: a line must stay whole (`log.LINE`)."""

_QUIET = ("uvicorn", "asyncio", "httpx2", "httpcore2", "sqlalchemy", "aiosqlite", "alembic")


def configure(config: LogConfig, sink: Sink | None = None) -> None:
    """Sets structlog and the standard library's logging up for this process."""
    log = Log("controller", sink, level=config.level, style=config.format)

    def factory(*names: str) -> Log:
        return log.named("controller", part=names[0]) if names else log

    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _exception, _arguments],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[config.level]),
        logger_factory=factory,
        # Loggers are made on import of their modules and must follow a later configuration.
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Libraries(log)]
    root.setLevel(logging.WARNING)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    # What uvicorn says is answered and logged by our own guard and protocol already.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)


class _Libraries(logging.Handler):
    """Lines of libraries that use the standard library's logging."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info and record.exc_info[1] is not None:
            message = f"{message}\n{told(record.exc_info[1])}"
        level = "error" if record.levelno >= logging.ERROR else "warning"
        self._log.write(level, message, {"part": record.name})


def told(error: BaseException) -> str:
    """An exception in a few lines: what it is, and the innermost places that it came through, outermost first."""
    lines = [
        f"  {_short(frame.filename)}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)[-FRAMES:]
    ]
    text = f"{type(error).__name__}: {error}"[:600]
    if isinstance(error, BaseExceptionGroup):
        lines += [f"  | {type(inner).__name__}: {inner}"[:200] for inner in error.exceptions[:3]]
    return "\n".join((text, *lines))


def _short(path: str) -> str:
    for root in sys.path:
        if root and path.startswith(root + os.sep):
            return path[len(root) + 1 :]
    return path


def _exception(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Puts the exception of `exc_info` behind the message, where a cut line loses it last."""
    found = event.pop("exc_info", None)
    if found is True:
        found = sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1]
    if isinstance(found, tuple):
        found = found[1]
    if isinstance(found, BaseException):
        event["event"] = f"{event.get('event', '')}\n{told(found)}"
    return event


def _arguments(_: Any, __: str, event: MutableMapping[str, Any]) -> tuple[tuple[str], dict[str, Any]]:
    """What `log.Log`'s methods take."""
    message = str(event.pop("event", ""))
    return (message,), dict(event)
