"""Which names may have a certificate, why, and under which certificate they are served. Pure.

Asked before issuing, never before serving: a name that has its certificate is served whatever the gate says.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Literal

from edgeproxy.config.structs import Config
from edgeproxy.model import ANSWERED, DomainState, covers, wildcard_of, wire_hostname

Source = Literal["registered", "gate", "pattern", "edge"]


class Verdict(enum.Enum):
    """What policy says of a name."""

    ALLOWED = "allowed"
    DENIED = "denied"
    ASK_GATE = "ask_gate"
    """No rule of ours says yes: the operator's gate decides."""


@dataclasses.dataclass(frozen=True, slots=True)
class Admission:
    """The answer for one hostname."""

    verdict: Verdict
    certificate: str
    """The name to issue for: the hostname itself, or the wildcard that serves it. Empty when denied."""
    source: Source
    """Which rule said yes; without meaning when denied."""
    reason: str
    """One plain sentence."""


@dataclasses.dataclass(frozen=True, slots=True)
class Registration:
    """What the store knows of a name: its own domain, or the wildcard domain above it."""

    hostname: str
    """As registered, possibly a wildcard."""
    state: DomainState


def admit(hostname: str, config: Config, registration: Registration | None, *, ahead: bool = False) -> Admission:
    """Decides for a hostname as it came over the wire, or a wildcard that the operator asks for.

    `registration` is the exact domain if there is one, else the wildcard domain that covers the name. `ahead`: also for one
    that is proven but does not lead here yet, which no visitor's coming can have issued.
    """
    wildcard = hostname.startswith("*.")
    if wire_hostname(hostname[2:] if wildcard else hostname) != (hostname[2:] if wildcard else hostname):
        return _denied(f"{hostname[:100]!r} is not a hostname.")
    if not wildcard and hostname in own_names(config):
        return Admission(Verdict.ALLOWED, hostname, "edge", f"{hostname} is a name of this edge itself.")
    if registration is not None:
        if registration.state not in ANSWERED and not (ahead and registration.state is DomainState.AWAITING_CUTOVER):
            return _denied(f"{registration.hostname} is registered but {_STATES[registration.state]}.")
        if config.issuance.allow.registered:
            return Admission(Verdict.ALLOWED, registration.hostname, "registered", f"{registration.hostname} is registered.")
    if (platform := _platform(hostname, config)) is not None:
        return platform
    return _by_rule(hostname, config, wildcard=wildcard)


def own_names(config: Config) -> frozenset[str]:
    """The edge's own names: never workspaces, always admitted, each under its own certificate."""
    names = (config.api.hostname, config.tls.default_hostname, config.platform.cname_target)
    return frozenset(name.lower().removesuffix(".") for name in names if name)


def served_unregistered(hostname: str, config: Config) -> bool:
    """Whether a name, which may be a wildcard, is served though nobody registered it, whatever the gate says. Then what was
    its domain's certificate goes on being its certificate when the domain is removed."""
    patterns = config.issuance.allow.patterns
    return hostname in edge_names(config) or any(covers(pattern.lower(), hostname) for pattern in patterns)


def edge_names(config: Config) -> frozenset[str]:
    """The names that have a site without being registered: the edge's own, and the platform's wildcard."""
    platform = config.platform.name.lower().removesuffix(".")
    return own_names(config) | ({f"*.{platform}"} if platform else frozenset())


def _platform(hostname: str, config: Config) -> Admission | None:
    """The rule for <workspace>.<platform.name>: only ever through the wildcard, or strangers could have a certificate
    ordered for each label that comes to their mind."""
    platform = config.platform.name.lower().removesuffix(".")
    if not platform or wildcard_of(hostname) != f"*.{platform}":
        return None
    label = hostname.partition(".")[0]
    if label in {reserved.lower() for reserved in config.platform.reserved}:
        return _denied(f"{hostname} is reserved by platform.reserved.")
    if "_" in label:
        return _denied(f"{label!r} is not a workspace's name.")
    return Admission(Verdict.ALLOWED, f"*.{platform}", "edge", f"{hostname} is a workspace of {platform}.")


def _by_rule(hostname: str, config: Config, *, wildcard: bool) -> Admission:
    allow = config.issuance.allow
    for pattern in allow.patterns:
        if covers(pattern.lower(), hostname):
            return Admission(Verdict.ALLOWED, hostname, "pattern", f"{hostname} matches the pattern {pattern}.")
    if allow.gate and not wildcard:
        return Admission(Verdict.ASK_GATE, hostname, "gate", f"The gate decides on {hostname}.")
    return _denied(not_registered(hostname))


def not_registered(hostname: str) -> str:
    """What is said of a name that nothing speaks for."""
    return f"{hostname} is not registered here."


def _denied(reason: str) -> Admission:
    return Admission(Verdict.DENIED, "", "registered", reason)


_STATES = {
    DomainState.PENDING_VALIDATION: "not verified yet",
    DomainState.AWAITING_CUTOVER: "its DNS does not point here yet",
    DomainState.PARKED: "parked, because its DNS does not point here",
    DomainState.REMOVED: "removed",
}
