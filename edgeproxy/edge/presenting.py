"""With which certificate a visitor's handshake goes on: the context that is there, one that is made first, or an alert."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgeproxy.edge.certificate import Cold, Denied, Found, Missing
from edgeproxy.edge.hello import INTERNAL_ERROR, UNRECOGNIZED_NAME
from edgeproxy.edge.signature import takes_ecdsa
from edgeproxy.errors import MapError

if TYPE_CHECKING:
    from edgeproxy.edge.connection import Connection
    from edgeproxy.edge.worker import Worker

MAKE_REST = 1.5
"""After a context was made in the loop it makes none for so many times as long as that took: others wait for two fifths of its
time at most, and a rush of names that are new to it goes to the thread."""


class Presenting:
    """Goes on with the handshakes of a worker's visitors as soon as their name is known."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._make_next = 0.0
        """When the loop may make a context itself again; monotonic."""

    def present_challenge(self, connection: Connection, name: str) -> None:
        """Goes on with the handshake of a CA that asks for the answer to a challenge, or ends it with an alert."""
        self._worker.notice()
        try:
            context = self._worker.certificates.challenges.context(name)
        except MapError as error:
            self._worker.fault(error)
            connection.alert(INTERNAL_ERROR, "map_error")
            return
        if context is None:
            connection.alert(UNRECOGNIZED_NAME, "denied")
        else:
            connection.wrap(context, (name,))

    def present(self, connection: Connection, name: str, *, asked: bool = False) -> None:
        """Goes on with a handshake for this name: with its context, after a wait, or with an alert. `asked`: the controller
        was asked for a certificate and has answered."""
        worker = self._worker
        worker.notice()
        try:
            found = worker.certificates.find(name, time.time())
        except MapError:
            worker.access.map_lookup("error")
            connection.alert(INTERNAL_ERROR, "map_error")
            return
        if isinstance(found, Found):
            if found.companion_id:
                self._wrap(connection, found)
            else:
                connection.wrap(found.context, found.names)
        elif isinstance(found, Cold):
            self._make_context(connection, found)
        elif isinstance(found, Missing) and not asked:
            worker.obtaining.join(connection, worker.now, known=found.site is not None)
        elif isinstance(found, Denied):
            connection.alert(found.alert, "denied")
        else:
            connection.alert(INTERNAL_ERROR, "no_certificate")

    def _wrap(self, connection: Connection, found: Found) -> None:
        """Goes on under the certificate of the kind that the client can take."""
        hello = connection.hello
        if found.companion_id and hello is not None and not takes_ecdsa(hello, found.key_type):
            beside = self._worker.certificates.find_companion(found, time.time())
            if isinstance(beside, Cold):
                self._make_context(connection, beside)
                return
            found = beside
        connection.wrap(found.context, found.names)

    def _make_context(self, connection: Connection, cold: Cold) -> None:
        """Goes on under a context that is to be made first: at once, as long as that takes little of the loop's time, else
        by the thread, which takes longer in all."""
        if self._worker.loop.time() < self._make_next:
            connection.waits()
            self._worker.task(self._wrap_made(connection, cold))
            return
        began = time.monotonic()
        try:
            found = self._worker.certificates.build(cold, time.time())
        except MapError as error:
            self._unusable(connection, error)
        else:
            self._wrap_new(connection, cold, found)
        ended = time.monotonic()
        self._make_next = ended + (ended - began) * MAKE_REST

    async def _wrap_made(self, connection: Connection, cold: Cold) -> None:
        try:
            try:
                found = await self._worker.certificates.obtain_context(cold, time.time())
            finally:
                connection.waited()  # whatever happened: nobody else ends its wait
        except MapError as error:
            self._unusable(connection, error)
            return
        self._wrap_new(connection, cold, found)

    def _unusable(self, connection: Connection, error: MapError) -> None:
        self._worker.fault(error)
        connection.alert(INTERNAL_ERROR, "unusable_certificate")

    def _wrap_new(self, connection: Connection, cold: Cold, found: Found) -> None:
        if cold.companion:
            connection.wrap(found.context, found.names)
        else:
            self._wrap(connection, found)

    def deny(self, hostname: str, seconds: float, denied: bool) -> None:
        """Remembers for so many seconds that a name gets no certificate."""
        if seconds > 0:
            until = time.time() + seconds
            if denied:
                self._worker.certificates.refuse(hostname, until, "the name is not admitted")
            else:
                self._worker.certificates.refuse(hostname, until, "no certificate could be obtained", alert=INTERNAL_ERROR)
