"""Messages to people, through apprise: mail, chats, pagers and whatever else it knows.

apprise is an optional part (`edgeproxy[alerts]`) and blocking: it is imported and called in a thread. Its URLs hold secrets and
are in no message or log of ours.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import anyio
import structlog
from anyio.to_thread import run_sync

from edgeproxy.errors import ConfigError, EdgeError, Fault

SECONDS = 60.0
"""For one message to all. Who takes longer did not get it."""

log = structlog.get_logger("alerts")


class NotNotified(EdgeError):
    """A message got to nobody."""

    code = "not_notified"
    fault = Fault.OPERATOR
    retryable = True


class Notifier:
    """Sends to the URLs of `alerts.notify`."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = tuple(urls)
        self._targets: list[tuple[int, Any]] | None = None

    async def send(self, title: str, body: str, *, over: bool) -> None:
        """Tells everybody; enough if one of them got it, the others are logged. Raises NotNotified, or ConfigError where an URL
        is none that apprise knows."""
        with anyio.move_on_after(SECONDS):
            failed = await run_sync(self._send, title, body, over, abandon_on_cancel=True)
            if len(failed) < len(self._urls):
                if failed:
                    log.warning("an alert got to some only", failed=failed)
                return
            raise NotNotified(f"An alert got to nobody of alerts.notify ({len(failed)} tried). It is tried again.")
        raise NotNotified(f"An alert took longer than {SECONDS:.0f} s, and nobody of alerts.notify may have got it.")

    def _send(self, title: str, body: str, over: bool) -> list[str]:
        """Blocking. Those who did not get it, by their place in the list."""
        if self._targets is None:
            self._targets = _targets(self._urls)
        kind = "success" if over else "failure"
        failed = [number for number, target in self._targets if not target.notify(title=title, body=body, notify_type=kind)]
        return [f"number {number}" for number in failed]


def _targets(urls: Sequence[str]) -> list[tuple[int, Any]]:
    try:
        import apprise  # optional, and slow to import
    except ImportError:
        raise ConfigError(
            "alerts.notify needs apprise, which is not installed beside edgeproxy: pip install apprise."
        ) from None
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # it quotes URLs
    found = []
    for number, url in enumerate(urls, 1):
        target = apprise.Apprise()
        if not target.add(url):
            raise ConfigError(
                f"alerts.notify: URL number {number} is none that apprise knows. Look at its scheme and form at appriseit.com."
            )
        found.append((number, target))
    return found
