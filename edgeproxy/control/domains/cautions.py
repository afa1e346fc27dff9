"""What whoever registers a name is told beside its registration, in plain sentences. Pure."""

from __future__ import annotations

from edgeproxy.config.structs import Config
from edgeproxy.control.domains import scripts
from edgeproxy.control.issuance.acme.challenges import proves_wildcards


def cautions(hostname: str, config: Config) -> list[str]:
    """Of a normalised hostname or wildcard: that it may be taken for another one, and that it can get no certificate."""
    found = scripts.warnings(hostname)
    if hostname.startswith("*.") and config.issuance.directory != "internal" and not proves_wildcards(config):
        found.append(
            f"No certificate can be obtained for {hostname}: a CA gives one for a wildcard by DNS-01 only, which is not set up "
            "(dns.zone or dns.rfc2136, and issuance.challenges). Set it up, upload a certificate for it, or register the names "
            "one by one."
        )
    if "_" in hostname and config.issuance.directory != "internal":
        found.append(
            f"No certificate can be obtained for {hostname}: public CAs give none for names with an underscore. Choose a name "
            "without one, or upload a certificate for it."
        )
    return found
