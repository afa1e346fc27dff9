"""Which certificate answers for a hostname, and the TLS contexts made of them.

One context for each hostname, even where one wildcard certificate covers many: a context shared between names would let a
session ticket of one resume under another (RFC 6066 section 3 forbids it). A context costs 0.4 ms and 22 KB, so it is made
when a visitor comes, kept among the most recently used, and made in a thread where the loop must not wait.

Finding is plain code without an await: look at what is remembered, then in the published map. What the map no longer tells
because it can not be read is answered from memory, however old; a reading error is never taken for an absence.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from edgeproxy.config.structs import Config
from edgeproxy.edge import openssl, tickets
from edgeproxy.edge.challenge import Challenges, Opener
from edgeproxy.edge.context import server_context
from edgeproxy.edge.hello import INTERNAL_ERROR, UNRECOGNIZED_NAME
from edgeproxy.errors import EdgeError, MapError
from edgeproxy.model import covers, wildcard_of
from edgeproxy.published.records import Certificate, Challenge, Change, Site, Tickets

UNUSABLE_SECONDS: Final = 10.0
"""How long a certificate that can not be loaded is not tried again."""

RETRY_TICKETS: Final = 60.0
"""Seconds after which ticket secrets that could not be read are looked for again."""

ALWAYS: Final = float("inf")


class Map(Protocol):
    """What is asked of the published map (`published.reader.MapReader`). Every method may raise MapError."""

    def site(self, hostname: str) -> Site | None: ...

    def certificate(self, certificate_id: str) -> Certificate | None: ...

    def challenge(self, key: str) -> Challenge | None: ...

    def tickets(self) -> Tickets | None: ...


COMPANIONS: Final = 8
"""For one in so many of `limits.contexts` a context with an RSA key is kept beside: clients that need one are rare."""


class Found:
    """The answer for a hostname: a context ready for its handshakes."""

    __slots__ = ("_checked", "_until", "certificate_id", "companion_id", "context", "hostname", "key_type", "names", "scope")

    def __init__(self, cold: Cold, context: ssl.SSLContext) -> None:
        certificate = cold.certificate
        self.hostname = cold.hostname
        self.scope = cold.scope
        """What its session tickets are made for: tickets of the one kind of key are none of the other's."""
        self.certificate_id = cold.certificate_id
        self.key_type = certificate.key_type
        self.companion_id = "" if certificate.companion is None else certificate.companion.id
        """The certificate with an RSA key beside it: `Certificates.find_companion`. Empty: there is none."""
        self.names = certificate.names
        """What the certificate covers, wildcards included: a request for another host gets 421."""
        self.context = context
        self._checked = -1
        self._until = 0.0


class Cold:
    """There is a certificate, but no context for the hostname yet: `await Certificates.obtain_context(cold, now)`."""

    __slots__ = ("certificate", "certificate_id", "companion", "hostname", "previous", "revision", "scope")

    def __init__(
        self,
        hostname: str,
        certificate_id: str,
        certificate: Certificate,
        previous: Found | None,
        revision: int,
        *,
        companion: bool = False,
    ) -> None:
        self.hostname = hostname
        self.companion = companion
        """Whether it is the companion of the certificate that other visitors are served under."""
        self.scope = f"rsa:{hostname}" if companion else hostname  # no hostname has a colon
        self.certificate_id = certificate_id
        self.certificate = certificate
        self.previous = previous
        """What was served before; it goes on if the new certificate can not be loaded."""
        self.revision = revision


class Missing:
    """The name is admitted, or may be, and has no certificate: the controller is to be asked."""

    __slots__ = ("key", "site")

    def __init__(self, key: str, site: Site | None) -> None:
        self.key = key
        """The key of the map that decided, the hostname or a wildcard above it. Give it to `refuse`: what is true of a
        wildcard then need not be asked again for every name beneath it."""
        self.site = site
        """None: the map does not know the name, but the gate or a pattern may admit it."""


class Denied:
    """No handshake for this name now: send the alert."""

    __slots__ = ("alert", "reason", "until")

    def __init__(self, alert: int, reason: str, until: float) -> None:
        self.alert = alert
        self.reason = reason
        """For the log."""
        self.until = until
        """Unix time until which that holds, unless the map changes."""


class Certificates:
    """Finds the certificate for a hostname, and keeps the contexts of one worker. Not thread-safe: one event loop's.

    `share_tickets`: whether `tickets.trial` ended well. `on_fault` is told of what an operator should know while visitors
    are still served: secrets or certificates in the map that can not be used.
    """

    def __init__(
        self,
        reader: Map,
        sealer: Opener,
        config: Config,
        *,
        share_tickets: bool,
        on_fault: Callable[[EdgeError], None] = lambda _fault: None,
    ) -> None:
        self._map, self._sealer = reader, sealer
        self._on_fault = on_fault
        self._share_tickets = share_tickets and self._openssl_is_reached()
        self._minimum = ssl.TLSVersion.TLSv1_3 if config.tls.minimum == "1.3" else ssl.TLSVersion.TLSv1_2
        self._protocols = ["h2", "http/1.1", "http/1.0"] if config.http.h2 else ["http/1.1", "http/1.0"]
        self.protocols = frozenset(protocol.encode("ascii") for protocol in self._protocols)
        """What visitors may speak over TLS, as in ClientHello.alpn."""
        self._on_demand = config.issuance.on_demand
        self._gate = bool(config.issuance.allow.gate)
        self._patterns = config.issuance.allow.patterns
        self._pinned = frozenset(
            filter(None, (config.api.hostname, config.platform.cname_target, config.platform.name, config.tls.default_hostname))
        )
        self._contexts_max, self._refused_max = max(config.limits.contexts, 1), max(config.limits.negative_names, 1)
        self._epoch = self._revision = 0
        self._contexts: OrderedDict[str, Found] = OrderedDict()
        self._companions: OrderedDict[str, Found] = OrderedDict()
        self._both_kinds = bool(config.tls.second_key_type)
        self._refused: OrderedDict[str, Denied] = OrderedDict()
        self.challenges = Challenges(reader, sealer)
        self._secrets: tuple[tuple[int, ...], tuple[bytes, ...]] | None = None
        self._flights: dict[tuple[str, str], asyncio.Future[Found]] = {}
        self._executor: ThreadPoolExecutor | None = None

    # finding

    def find(self, hostname: str, now: float) -> Found | Cold | Missing | Denied:
        """What answers a handshake for a hostname (normalised, see `model.wire_hostname`) at Unix time `now`.

        Raises MapError where neither the map nor memory can tell: the alert is then internal_error, and nothing is
        remembered.
        """
        found = self._contexts.get(hostname)
        if found is not None and found._checked == self._epoch and now < found._until:
            self._contexts.move_to_end(hostname)
            return found
        denied = self._remembered(hostname, now)
        if denied is not None and found is None:
            return denied
        try:
            return self._look(hostname, now, found)
        except MapError:
            if found is None:
                raise
            return found  # the last known answer

    def _look(self, hostname: str, now: float, found: Found | None) -> Found | Cold | Missing | Denied:
        key, site = hostname, self._map.site(hostname)
        if site is None:
            key = wildcard_of(hostname)
            site = self._map.site(key)
        if site is None:
            self._forget(hostname)
            if self._on_demand and self._may_be_admitted(hostname):
                return Missing(hostname, None)
            return self.refuse(hostname, ALWAYS, "the name is not served here")
        certificate = self._map.certificate(site.certificate) if site.certificate else None
        if certificate is None and site.certificate:
            # Two reads: between them the site may have got another certificate and lost this one.
            site = self._map.site(key) or site
            certificate = self._map.certificate(site.certificate) if site.certificate else None
        if certificate is None or not any(covers(name, hostname) for name in certificate.names):
            self._forget(hostname)
            denied = self._remembered(key, now)
            if denied is not None:
                return denied
            if not self._on_demand:
                return Denied(INTERNAL_ERROR, "the name has no certificate yet", now)
            return Missing(key, site)
        if found is not None and found.certificate_id == site.certificate:
            found.companion_id = "" if certificate.companion is None else certificate.companion.id
            self._renew(found, now)
            self._contexts.move_to_end(hostname)
            return found
        denied = self._remembered(hostname, now)  # the new certificate could not be loaded a moment ago
        if denied is not None:
            return denied if found is None else found
        return Cold(hostname, site.certificate, certificate, found, self._revision)

    def find_companion(self, found: Found, now: float) -> Found | Cold:
        """The same name's certificate with an RSA key, for a client that cannot take the one that `find` just gave; that one
        itself where there is no other, or none that can be used."""
        companion = self._companions.get(found.hostname)
        if companion is not None and companion.certificate_id == found.companion_id:
            if companion._checked != self._epoch or now >= companion._until:
                self._renew(companion, now)
            self._companions.move_to_end(found.hostname)
            return companion
        if not found.companion_id or self._remembered(f"rsa:{found.hostname}", now) is not None:
            return found
        try:
            certificate = self._map.certificate(found.certificate_id)
        except MapError as fault:
            self._on_fault(fault)
            return found
        if certificate is None or (beside := certificate.companion) is None:
            return found
        record = Certificate(
            names=certificate.names,
            chain=beside.chain,
            sealed_key=beside.sealed_key,
            not_before=beside.not_before,
            not_after=beside.not_after,
        )
        return Cold(found.hostname, beside.id, record, found, self._revision, companion=True)

    def _forget(self, hostname: str) -> None:
        self._contexts.pop(hostname, None)
        self._companions.pop(hostname, None)

    def _may_be_admitted(self, hostname: str) -> bool:
        """Whether a name that the map does not know is worth asking the controller about."""
        return self._gate or hostname in self._pinned or any(covers(pattern, hostname) for pattern in self._patterns)

    def _remembered(self, key: str, now: float) -> Denied | None:
        denied = self._refused.get(key)
        if denied is not None and denied.until <= now:
            del self._refused[key]
            return None
        return denied

    def refuse(self, key: str, until: float, reason: str, *, alert: int = UNRECOGNIZED_NAME) -> Denied:
        """Remembers that a name (`Missing.key`) gets no handshake until then, in Unix time, unless the map changes.

        `alert`: unrecognized_name where policy said no, internal_error where obtaining a certificate failed.
        """
        denied = self._refused[key] = Denied(alert, reason, until)
        if len(self._refused) > self._refused_max:
            self._refused.popitem(last=False)
        return denied

    # contexts

    async def obtain_context(self, cold: Cold, now: float) -> Found:
        """Makes the context in a thread, once however many wait; then it is remembered. Raises MapError.

        A waiter that is cancelled does not end the making. If the certificate can not be loaded and another was served
        before, that one goes on.
        """
        key = (cold.hostname, cold.certificate_id)
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.ensure_future(self._in_thread(cold, now))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    async def _in_thread(self, cold: Cold, now: float) -> Found:
        if self._executor is None:  # not before the fork
            self._executor = ThreadPoolExecutor(1, thread_name_prefix="contexts")
        loop = asyncio.get_running_loop()
        try:
            context = await loop.run_in_executor(self._executor, self.context_for, cold.certificate_id, cold.certificate)
        except MapError as fault:
            return self._unusable(cold, fault, now)
        return self._remember(cold, context, now)

    def _landed(self, key: tuple[str, str], flight: asyncio.Future[Found]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # every waiter may be gone: then nobody else would fetch it

    def build(self, cold: Cold, now: float) -> Found:
        """As `obtain_context`, at once: 0.4 ms during which the loop stands still, where the thread costs 0.4 ms more of CPU
        and of waiting. Raises MapError."""
        try:
            context = self.context_for(cold.certificate_id, cold.certificate)
        except MapError as fault:
            return self._unusable(cold, fault, now)
        return self._remember(cold, context, now)

    def _unusable(self, cold: Cold, fault: MapError, now: float) -> Found:
        if not fault.retryable:
            self.refuse(cold.scope, now + UNUSABLE_SECONDS, fault.detail, alert=INTERNAL_ERROR)
        if cold.previous is None:
            raise fault
        self._on_fault(fault)
        return cold.previous

    def _remember(self, cold: Cold, context: ssl.SSLContext, now: float) -> Found:
        found = Found(cold, context)
        self._renew(found, now)
        if cold.companion:
            self._companions[cold.hostname] = found
            self._companions.move_to_end(cold.hostname)
            if len(self._companions) > max(self._contexts_max // COMPANIONS, 1):
                self._companions.popitem(last=False)
            return found
        if cold.revision != self._revision:  # the map changed meanwhile: this visitor is served, the next one looks
            found._checked = -1
        self._contexts[cold.hostname] = found
        self._contexts.move_to_end(cold.hostname)
        for _ in range(len(self._pinned) + 1):
            if len(self._contexts) <= self._contexts_max:
                break
            oldest = next(iter(self._contexts))
            if oldest in self._pinned:
                self._contexts.move_to_end(oldest)
            else:
                del self._contexts[oldest]
        return found

    def context_for(self, certificate_id: str, certificate: Certificate) -> ssl.SSLContext:
        """A context for one hostname with this certificate. Any thread. Raises MapError where it can not be used."""
        key = self._sealer.open(certificate.sealed_key, b"key:" + certificate_id.encode())
        kind = certificate.key_type if self._share_tickets else ""
        what = f"certificate {certificate_id}"
        context = server_context(certificate.chain, key, self._protocols, self._minimum, what, kind=kind)
        if self._share_tickets:
            tickets.without_session_cache(context)
        return context

    # session tickets

    def _openssl_is_reached(self) -> bool:
        """Asked before the first handshake: once it was reached it stays, and where it is not, every handshake would fail for
        what only resumption needs. The trial's child reached it, which this process need not: without memory, say."""
        try:
            openssl.library()
        except openssl.OpenSslUnreachable as fault:
            detail = f"Sessions resume only in the worker that began them: {fault.detail}"
            self._on_fault(tickets.TicketKeysRefused(detail))
            return False
        return True

    def _renew(self, found: Found, now: float) -> None:
        """Marks an answer as current, and gives its context the ticket keys that count now."""
        found._checked, found._until = self._epoch, ALWAYS
        if not self._share_tickets:
            return
        try:
            starts, secrets = self._secrets or self._load_secrets()
        except MapError as fault:
            self._on_fault(fault)
            starts = ()
        if not starts:  # the context goes on with keys of its own
            found._until = now + RETRY_TICKETS
            return
        index, found._until = tickets.choose(starts, found.hostname, now)
        try:
            tickets.apply(found.context, tickets.ticket_keys(secrets[index], found.scope))
        except tickets.TicketKeysRefused as fault:
            self._share_tickets = False
            self._on_fault(fault)

    def _load_secrets(self) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """Starts and opened secrets, newest first; both empty where none were made yet. Raises MapError."""
        record = self._map.tickets()
        if record is None:
            return (), ()
        opened = [
            self._sealer.open(sealed, b"ticket:%d" % start)
            for start, sealed in zip(record.starts, record.secrets, strict=False)
        ]
        self._secrets = record.starts, tuple(opened)
        return self._secrets

    # changes

    def drop(self, changes: Iterable[Change] | None) -> None:
        """Takes notice of what `MapReader.changes` tells; None: everything may have changed.

        Contexts stay, but are compared with the map before they are used again: a site that changed in something else
        keeps its context, and a map that can not be read then leaves the last known answer.
        """
        self._revision += 1
        if changes is None:
            self._epoch += 1
            self._refused.clear()
            self.challenges.drop(None)
            self._secrets = None
            return
        names: set[str] = set()
        parents: set[str] = set()
        ids: set[str] = set()
        for change in changes:
            if change.database == "certificates":
                ids.add(change.key)
            elif change.database == "sites":
                if change.key.startswith("*."):
                    parents.add(change.key[2:])
                names.add(change.key)
            elif change.database == "challenges":
                self.challenges.drop(change.key)
            elif change.database == "tickets":
                self._secrets = None
                for found in (*self._contexts.values(), *self._companions.values()):
                    found._until = 0.0
        if parents:  # one pass over what is remembered, however many wildcards changed
            for remembered in (self._contexts, self._refused):
                names.update(name for name in remembered if name.partition(".")[2] in parents)
        if ids and self._both_kinds:  # one that is served already may have another companion
            names.update(name for name, found in self._contexts.items() if found.certificate_id in ids)
        for name in names:
            self._refused.pop(name, None)
            if (stale := self._contexts.get(name)) is not None:
                stale._checked = -1

    def __len__(self) -> int:
        """How many contexts are held."""
        return len(self._contexts) + len(self._companions)

    def close(self) -> None:
        """Ends the thread, once it has made what it is making."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)
            self._executor = None
