"""How many new names one client network may have certificates obtained for: nobody is to spend the CA's limits by inventing
names that a pattern or a lenient gate admits."""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Callable

from edgeproxy.buckets import Buckets, network_of_literal, written
from edgeproxy.config.structs import Config
from edgeproxy.control import events
from edgeproxy.control.issuance.policy import Source

SAY_AGAIN_SECONDS = 60.0
"""Between two events about networks that are limited, whichever they are: their number is a stranger's to choose."""

_INVENTED: frozenset[Source] = frozenset(("gate", "pattern"))
"""What a stranger can have names admitted by. A registered name was entered by somebody, and its certificate is wanted whoever
visits it first."""


class ClientNetworks:
    """Which network a client belongs to (/24, /56); none where the address stands for many (`listen.trusted_proxies`)."""

    def __init__(self, config: Config) -> None:
        self._trusted = [ipaddress.ip_network(entry) for entry in config.listen.trusted_proxies]

    def of(self, client_ip: str) -> bytes:
        """The network (`buckets.network_of`) of an IP literal; b"" for trusted proxies, and for "": nobody in particular."""
        if not client_ip:
            return b""
        ip = ipaddress.ip_address(client_ip)
        return b"" if any(ip in trusted for trusted in self._trusted) else network_of_literal(client_ip)


class Strangers:
    """The limit `limits.new_names`. `clock` gives monotonic seconds; `refused` is called at each refusal."""

    def __init__(self, config: Config, clock: Callable[[], float], refused: Callable[[], None]) -> None:
        self._limit = config.limits.new_names
        self._buckets = Buckets(self._limit / 3600, float(self._limit), secrets.token_bytes(32))
        self._networks = ClientNetworks(config)
        self._clock = clock
        self._refused = refused
        self._say_at = float("-inf")
        self._unsaid = 0

    def refusal(self, hostname: str, source: Source, client_ip: str) -> str | None:
        """Counts a name whose issuance is about to begin because somebody at this address waits for it; or says, in a sentence,
        why it does not. An empty address is the edge's own wish."""
        network = self._networks.of(client_ip)
        if source not in _INVENTED or not network or self._buckets.take(network, self._clock()):
            return None
        self._refused()
        self._say(hostname, written(network))
        return (
            f"{written(network)} has had certificates obtained for {self._limit} new names within an hour (limits.new_names); "
            "visitors from elsewhere are not concerned."
        )

    def _say(self, hostname: str, network: str) -> None:
        self._unsaid += 1
        now = self._clock()
        if now < self._say_at:
            return
        self._say_at = now + SAY_AGAIN_SECONDS
        refused, self._unsaid = self._unsaid, 0
        events.publish("new_names.limited", network=network, hostname=hostname, limit=self._limit, refused=refused)
