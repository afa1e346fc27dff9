"""What has to be seen of a name before it is verified. Pure."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import ipaddress

from edgeproxy.config.structs import Config
from edgeproxy.control.probe.look import asked_name
from edgeproxy.control.store.rows.domains import Domain

PREFIX = "_edgeproxy-verify"
PATH = "/.well-known/edgeproxy-verify/"

LABEL_CHARACTERS = 26
"""Of a workspace's label: 130 bits of a hash, so that no two workspaces ever share one."""


def workspace_label(workspace_id: str) -> str:
    """The label of a workspace before `platform.cname_target`. It is not secret: that a customer's CNAME leads to it is what
    proves something."""
    digest = hashlib.sha256(b"workspace:" + workspace_id.encode()).digest()
    return base64.b32encode(digest).decode("ascii").lower()[:LABEL_CHARACTERS]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """It."""

    hostname: str
    method: str
    """ "cname", "dns" or "file"."""
    proof: str
    target: str
    """`platform.cname_target`; empty: not configured."""
    own_target: str
    """`<token>.{cname_target}` of the workspace; empty likewise."""
    own_proves: bool
    """Whether a CNAME to `own_target` proves as much as the TXT record: nobody else can have set it."""
    addresses: tuple[str, ...]
    """`platform.addresses`."""
    authority_decides: bool
    """Whether the zone's own servers must have answered: where no resolvers are configured, of which all have to agree."""

    @property
    def asked(self) -> str:
        """The name whose addresses are asked for: of a wildcard one of its names."""
        return asked_name(self.hostname)

    @property
    def text_name(self) -> str:
        """Where the TXT record stands."""
        return f"{PREFIX}.{self.hostname.removeprefix('*.')}"

    @property
    def file_url(self) -> str:
        """Where the file is."""
        return f"http://{self.hostname}{PATH}{self.proof}"

    @property
    def measurable(self) -> bool:
        """Whether anything is configured that a name could point at."""
        return bool(self.target or self.addresses)


def wanted_of(domain: Domain, config: Config) -> Wanted:
    """What a domain's owner has to show. A name that is proven by mail, or by nothing, is looked at like one by CNAME: where
    it points has to be known in any case. One whose record must be such that nobody else can have set it is asked for its TXT
    record, or, unless "dns" was asked for, for a CNAME to the workspace's own target: see `looking.suffices`."""
    method = domain.method if domain.method in ("dns", "file") else "cname"
    by_text = domain.hostname.startswith("*.") or domain.must_prove
    target = config.platform.cname_target
    return Wanted(
        hostname=domain.hostname,
        method="dns" if by_text else method,
        proof=domain.proof,
        target=target,
        own_target=f"{workspace_label(domain.workspace_id)}.{target}" if target else "",
        own_proves=bool(target) and domain.must_prove and domain.method != "dns" and not domain.hostname.startswith("*."),
        addresses=tuple(str(ipaddress.ip_address(address)) for address in config.platform.addresses),
        authority_decides=not config.dns.resolvers,
    )
