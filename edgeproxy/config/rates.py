"""How many requests visitors may make."""

from __future__ import annotations

from edgeproxy.config.section import Section


class Rates(Section, frozen=True):
    """Rate limits of visitors' requests, over all workers of the machine. A rate is "100/s", "1000/m" or "20/h": so many come
    evenly, and as many at once after a pause, or as "100/s burst 400" says. Above it: 429 with Retry-After. What is empty
    limits nothing and costs nothing. Requests under api.hostname have limits of their own (limits.token_requests)."""

    per_network: str = ""
    """Requests of one client network (/24, /56). Behind a proxy of listen.trusted_proxies it is the network of the last address
    in x-forwarded-for that is no such proxy; where there is none, it is not counted."""

    per_hostname: str = ""
    """Requests for one domain, from all clients. The names beneath a customer's wildcard count together."""

    per_workspace: str = ""
    """Requests for all domains of one workspace together."""

    exempt: tuple[str, ...] = ()
    """CIDRs of clients that are not limited, and whose requests do not count: monitoring, offices, partners."""

    exempt_header: str = "edgeproxy-exempt"
    """The header in which a client sends one of the tokens below. Where there are any it never reaches an origin."""

    exempt_tokens: tuple[str, ...] = ()
    """Secrets whose bearers are not limited, and whose requests do not count: 16 to 256 letters, digits and ._~+/=-, each
    better as "file:PATH". Whoever has one can send any number of requests to every domain."""

    def __repr__(self) -> str:
        return f"Rates({self.per_network!r}, {self.per_hostname!r}, {self.per_workspace!r}, {len(self.exempt_tokens)} tokens)"
