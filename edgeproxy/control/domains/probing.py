"""Whether visitors of a name are served: a handshake through the way that they take, and the certificate that comes of it."""

from __future__ import annotations

from collections.abc import Callable

from edgeproxy.config.structs import Config
from edgeproxy.control.domains.looking import Live
from edgeproxy.control.probe.grading import Grade, grade
from edgeproxy.control.probe.look import asked_name, look, own_address
from edgeproxy.control.probe.trust import Trust
from edgeproxy.control.store import Store

HANDSHAKE_SECONDS = 5.0
"""What one handshake may take."""

GOOD = frozenset((Grade.GOOD, Grade.EXPIRING))


class Visitor:
    """Makes handshakes. `clock` gives Unix time."""

    def __init__(self, config: Config, store: Store, clock: Callable[[], float]) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._trust = Trust(config, store, clock)

    async def visit(self, hostname: str) -> Live:
        """See looking.Prober. The right certificate is the one of the store, whoever trusts it; or any that visitors trust and
        that is for the name, since a CDN may stand before the edge."""
        host, port = visitors_address(self._config)
        name, now = asked_name(hostname), self._clock()
        served = await look(host, port, name, await self._trust.get(), own=self._config, seconds=HANDSHAKE_SECONDS)
        graded = grade(served, name, now)
        if graded.grade in GOOD:
            return Live(True)
        if graded.grade in (Grade.UNTRUSTED, Grade.INCOMPLETE):
            stored = await self._store.current_certificate(hostname, now)
            if stored is not None and stored.id == graded.certificate_id:
                return Live(True)
        return Live(False, graded.detail)


def visitors_address(config: Config) -> tuple[str, int]:
    """Where visitors arrive: `verification.visitors_address`, else this machine's own listener. Pure."""
    if not config.verification.visitors_address:
        return own_address(config)
    host, _, port = config.verification.visitors_address.rpartition(":")
    return host.strip("[]"), int(port)
