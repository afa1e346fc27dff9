"""Dynamic updates (RFC 2136) signed with TSIG (RFC 8945): TXT records at a DNS server of the operator's."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING

import structlog

from edgeproxy.config.dns import Rfc2136
from edgeproxy.config.rules.addresses import socket_address
from edgeproxy.control.importing import load
from edgeproxy.control.issuance.acme.challenges import AnswerFailed
from edgeproxy.control.issuance.acme.transport import Sleep

if TYPE_CHECKING:
    from dns.message import Message
    from dns.update import UpdateMessage

log = structlog.get_logger("issuance")

TTL = 1
"""Seconds of our records, as in our own zone: a hostname and its wildcard share a name, and a resolver that has seen the record
of one must look again for that of the other."""

TRY_TIME = 4.0
"""Seconds that one message may take, over TCP connecting included."""

TRIES = ("tcp", "udp", "tcp")
"""How a message is sent until it is answered. TCP first, since it cannot be lost unnoticed; a firewall may let only UDP pass.
An update that was done twice is done once: it adds or removes exactly one record."""

SEEN_TIME = 30.0
"""Seconds within which the server itself must answer with what it took."""

_LOOKS = 0.05
_LOOKS_MAX = 1.0


class UpdateFailed(AnswerFailed):
    """The DNS server did not take an update, or could not be asked. `detail` says whose doing it is and what to do."""

    code = "dns_update_failed"


class DynamicZone:
    """One zone at one server. Every method raises UpdateFailed."""

    def __init__(self, settings: Rfc2136, sleep: Sleep = asyncio.sleep) -> None:
        self.zone = settings.zone
        self._settings = settings
        self._host, self._port = socket_address(settings.server)
        self._sleep = sleep

    async def add(self, name: str, value: str) -> None:
        """Adds a TXT record beside those that the name has; returns when the server answers with it. Nothing happens
        where it is there already."""
        update = await self._update()
        update.add(_absolute(name), TTL, "TXT", _quoted(value))
        await self._apply(update, name)
        await self._until_seen(name, value)

    async def remove(self, name: str, value: str) -> None:
        """Removes the TXT record with this value, and no other. Nothing happens where there is none."""
        update = await self._update()
        update.delete(_absolute(name), "TXT", _quoted(value))
        await self._apply(update, name)

    async def _update(self) -> UpdateMessage:
        await load("dns.update", "dns.tsig")  # 0.2 s, which a start without DNS-01 need not wait for
        import dns.tsig
        from dns.update import UpdateMessage

        settings = self._settings
        key = dns.tsig.Key(settings.key_name, settings.key_secret, settings.algorithm)
        return UpdateMessage(_absolute(self.zone), keyring={key.name: key}, keyname=key.name, keyalgorithm=key.algorithm)

    async def _apply(self, update: UpdateMessage, name: str) -> None:
        import dns.rcode

        rcode = (await self._exchange(update)).rcode()
        if rcode != dns.rcode.NOERROR:
            raise self._refused(dns.rcode.to_text(rcode), name)

    async def _until_seen(self, name: str, value: str) -> None:
        """Returns when the server gives the record to anybody who asks, as a CA will.

        A server that answers no questions (a hidden primary) is believed by what it said to the update.
        """
        import dns.message
        import dns.rcode

        spent, delay = 0.0, _LOOKS
        while True:
            query = dns.message.make_query(_absolute(name), "TXT", flags=0)
            response = await self._exchange(query)
            if response.rcode() == dns.rcode.REFUSED or value in _texts(response):
                return
            if spent >= SEEN_TIME:
                raise self._failed(
                    f"took the update of {name} and does not answer with it",
                    f"Look there for a CNAME at {name}, or for another zone below {self.zone}",
                )
            await self._sleep(delay)
            spent, delay = spent + delay, min(delay * 2, _LOOKS_MAX)

    async def _exchange(self, message: Message) -> Message:
        """Sends a message until it is answered. An answer to a signed message is signed too, or says why it is not."""
        import dns.exception
        import dns.message
        import dns.tsig

        reason = ""
        for way in TRIES:
            try:
                async with asyncio.timeout(TRY_TIME):
                    wire = await self._send(message.to_wire(), tcp=way == "tcp")
                answer = dns.message.from_wire(wire, keyring=message.keyring or False, request_mac=message.mac)
                if message.is_response(answer):
                    return answer
                reason = f"what it answers over {way.upper()} answers another question"
            except dns.tsig.PeerError as error:
                raise self._not_accepted(error) from None
            except (dns.tsig.BadTime, dns.tsig.BadSignature, dns.message.UnknownTSIGKey) as error:
                raise self._failed(
                    f"signs its answers as key {self._settings.key_name} does not ({type(error).__name__})",
                    "Look at dns.rfc2136.key_secret, and at the clocks of both machines",
                ) from None
            except dns.exception.FormError:
                # Unsigned, as some refusals are (RFC 8945 section 5.3.2 allows it for those): believed only when it says no.
                if (said := _unsigned(wire)) is not None and message.is_response(said) and said.rcode():
                    return said
                reason = f"what it answers over {way.upper()} is " + ("no DNS message" if said is None else "not signed")
            except TimeoutError:
                reason = f"no answer over {way.upper()} within {TRY_TIME:g} s"
            except EOFError:
                reason = "it ends the connection instead of answering"
            except OSError as error:
                reason = f"{os.strerror(error.errno) if error.errno else error} (over {way.upper()})"
            except dns.exception.DNSException as error:
                reason = f"what it answers is no DNS message ({type(error).__name__})"
            log.debug("a DNS server did not answer", server=self._settings.server, reason=reason)
        raise self._failed(
            f"cannot be reached: {reason}", "Look whether it runs, at dns.rfc2136.server, and at firewalls between (port 53)"
        )

    async def _send(self, wire: bytes, *, tcp: bool) -> bytes:
        """The bytes of the answer. Raises OSError, EOFError or TimeoutError."""
        if tcp:
            reader, writer = await asyncio.open_connection(self._host, self._port)
            try:
                writer.write(len(wire).to_bytes(2, "big") + wire)
                return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
            finally:
                writer.close()
        from dns.asyncbackend import get_default_backend

        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        async with await get_default_backend().make_socket(  # type: ignore[no-untyped-call]
            family, socket.SOCK_DGRAM
        ) as sock:
            await sock.sendto(wire, (self._host, self._port), TRY_TIME)
            while True:
                answer, sender = await sock.recvfrom(65535, TRY_TIME)
                if sender[:2] == (self._host, self._port) and answer[:2] == wire[:2]:
                    return bytes(answer)

    def _not_accepted(self, error: Exception) -> UpdateFailed:
        """For what a server says of our signature (RFC 8945 section 5.2)."""
        import dns.tsig

        key = f"the key {self._settings.key_name} ({self._settings.algorithm})"
        if isinstance(error, dns.tsig.PeerBadKey):
            return self._failed(
                f"does not know {key}, or does not let it near the zone {self.zone} (BADKEY)",
                "Make dns.rfc2136.key_name and algorithm those of a key in its configuration, which may update the zone",
                retryable=False,
            )
        if isinstance(error, dns.tsig.PeerBadSignature):
            return self._failed(
                f"has another secret for {key} (BADSIG)",
                "Copy the secret from its configuration into dns.rfc2136.key_secret",
                retryable=False,
            )
        if isinstance(error, dns.tsig.PeerBadTime):
            return self._failed(
                "finds our signature too old or too new (BADTIME)",
                "The clocks differ by minutes: set that of this machine, or that of the server",
            )
        return self._failed(f"does not accept our signature ({type(error).__name__})", f"Look at {key} there", retryable=False)

    def _refused(self, rcode: str, name: str) -> UpdateFailed:
        zone = self.zone
        meanings = {
            "NOTAUTH": (
                f"is not the primary of the zone {zone} (NOTAUTH)",
                "dns.rfc2136.server must be the primary of the zone in dns.rfc2136.zone",
            ),
            "NOTZONE": (f"finds {name} outside of the zone {zone} (NOTZONE)", "Look at dns.rfc2136.zone"),
            "REFUSED": (
                f"does not let the key {self._settings.key_name} update {name} (REFUSED)",
                f"Allow it there to add and remove TXT records in {zone}: update-policy in BIND, acl in Knot",
            ),
            "NOTIMP": ("does no dynamic updates (NOTIMP)", "Switch them on there, or use dns.zone"),
        }
        what, cure = meanings.get(rcode, (f"failed at the update of {name} ({rcode})", "Its log tells why"))
        return self._failed(what, cure, retryable=rcode not in meanings)

    def _failed(self, what: str, cure: str, *, retryable: bool = True) -> UpdateFailed:
        return UpdateFailed(f"The DNS server {self._settings.server} {what}. {cure}.", retryable=retryable)


def _unsigned(wire: bytes) -> Message | None:
    """A message without its signature; None where the bytes are no message."""
    import dns.exception
    import dns.message

    try:
        return dns.message.from_wire(wire, keyring=False)
    except dns.exception.DNSException:
        return None


def _absolute(name: str) -> str:
    return f"{name}."


def _quoted(value: str) -> str:
    """A TXT record's text. Our values are base64url and need no escapes; a longer one would need several strings."""
    return f'"{value}"'


def _texts(response: Message) -> set[str]:
    """The TXT records of an answer."""
    import dns.rdatatype

    sets = [answer for answer in response.answer if answer.rdtype == dns.rdatatype.TXT]
    return {b"".join(record.strings).decode("ascii", "replace") for records in sets for record in records}
