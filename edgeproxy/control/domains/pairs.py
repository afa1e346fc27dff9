"""Names that belong together: an apex and its www, and chains of redirects. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edgeproxy.errors import InvalidName
from edgeproxy.model import wire_hostname

HOPS_MAX: Final = 3
"""Redirects that a visitor may be led through. Each is a round trip, and often a TLS handshake."""


def partner_of(hostname: str, registered_domain: Callable[[str], str]) -> str:
    """The other one of an apex and its www: "www.example.com" for "example.com", and the other way round.

    `registered_domain` gives the domain that a name is registered under. Raises InvalidName for any other name.
    """
    apex = registered_domain(hostname)
    if hostname == apex and "." in apex:
        return f"www.{apex}"
    if hostname == f"www.{apex}":
        return apex
    raise InvalidName(
        f"{hostname} has no www beside it: only a domain like {apex}, or www.{apex}, is one of a pair. "
        "Register it alone, and the other name by itself.",
        code="no_pair",
    )


class RedirectCheck:
    """Follows a redirect that somebody wants, from name to name, to its end.

    Ask the store for the registration that decides on `name` (its own, else that of the wildcard above it), tell it by
    `found`, and go on until `name` is empty. Sans I/O, so that one transaction can ask and set the redirect.
    """

    def __init__(self, hostname: str, workspace_id: str, target: str) -> None:
        """`hostname`: what is to redirect, possibly a wildcard. Raises InvalidName for a target where no visitor can go."""
        if target.startswith("*.") or wire_hostname(target) != target:
            raise _refused(
                f"{hostname} cannot redirect to {target[:260]!r}: a visitor needs a name to go to, like www.example.com."
            )
        if target == hostname:
            raise _refused(f"{hostname} cannot redirect to itself.")
        self._hostname, self._workspace_id, self._target = hostname, workspace_id, target
        self._passed: list[str] = []
        self.name = target
        """Whose registration is wanted next; empty at the end of a redirect that is good."""

    def found(self, hostname: str, workspace_id: str, redirect_to: str) -> None:
        """The registration that decides on `name`: as registered, whose it is, and where it redirects; all empty where there
        is none. Raises InvalidName where the redirect would be no good."""
        name = self.name
        if not hostname or workspace_id != self._workspace_id:
            # One sentence for both: whose a name is, is no stranger's business.
            raise _refused(
                f"{self._hostname} cannot redirect to {self._target}: {name} is not a domain of its workspace. "
                "Register it first."
            )
        if hostname == self._hostname:
            redirect_to = self._target  # as it will be
        if not redirect_to or redirect_to == name:  # a wildcard that redirects to a name which it covers serves that name
            self.name = ""
            return
        self._passed.append(name)
        way = " → ".join((self._hostname, *self._passed, redirect_to))
        if redirect_to == self._hostname or redirect_to in self._passed:
            raise _refused(f"{self._hostname} cannot redirect to {self._target}: visitors would go round for ever, {way}.")
        if len(self._passed) >= HOPS_MAX:
            raise _refused(
                f"{self._hostname} cannot redirect to {self._target}: visitors would be sent on more than {HOPS_MAX} times, "
                f"{way}. Redirect to where the way ends."
            )
        self.name = redirect_to


def _refused(text: str) -> InvalidName:
    return InvalidName(text, code="invalid_redirect")
