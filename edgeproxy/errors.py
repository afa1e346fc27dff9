"""The errors that people and programs meet.

Every error answers three questions: what happened, whose fault it is, and whether trying again may help.
Foreign exceptions are translated into these once, at the boundary where they appear.
"""

from __future__ import annotations

import enum


class Fault(enum.StrEnum):
    """Whose doing an error is, and so who can cure it."""

    CLIENT = "client"
    CUSTOMER_DNS = "customer_dns"
    CA = "ca"
    ORIGIN = "origin"
    OPERATOR = "operator"
    EDGE = "edge"


class EdgeError(Exception):
    """An error with an address: `code` for programs, `detail` for people, `fault` and `retryable` for both.

    `detail` is one or more plain sentences: what happened and what to do next. It never holds a secret.
    """

    code = "internal_error"
    fault = Fault.EDGE
    retryable = False

    def __init__(
        self, detail: str, *, code: str | None = None, fault: Fault | None = None, retryable: bool | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        if code is not None:
            self.code = code
        if fault is not None:
            self.fault = fault
        if retryable is not None:
            self.retryable = retryable


class ConfigError(EdgeError):
    """The configuration cannot be used. `detail` has a line per fault: file, line, key, what would be right."""

    code = "invalid_configuration"
    fault = Fault.OPERATOR


class StateError(EdgeError):
    """The state directory, its keys or the store are not usable; nothing was overwritten."""

    code = "state_unusable"
    fault = Fault.OPERATOR


class StartError(EdgeError):
    """The program cannot start, or not take a new configuration, on this machine as it is: ports, permissions, children."""

    code = "cannot_start"
    fault = Fault.OPERATOR
    retryable = True


class MapError(EdgeError):
    """The published map cannot be read or written just now."""

    code = "map_unavailable"
    retryable = True


class InvalidName(EdgeError, ValueError):
    """A hostname, workspace id or URL that is not well-formed or not allowed."""

    code = "invalid_name"
    fault = Fault.CLIENT


class InvalidCertificate(EdgeError):
    """A certificate, its chain or its key that somebody brings and that cannot be served."""

    code = "invalid_certificate"
    fault = Fault.CLIENT


class NotFound(EdgeError):
    """The thing that was named does not exist."""

    code = "not_found"
    fault = Fault.CLIENT


class Conflict(EdgeError):
    """The thing exists already, or belongs to another workspace."""

    code = "conflict"
    fault = Fault.CLIENT


class Outdated(Conflict):
    """It was changed since the one who wants to change it has looked."""

    code = "precondition_failed"


class IssuanceError(EdgeError):
    """No certificate could be obtained for a name."""

    code = "issuance_failed"
    fault = Fault.CA
    retryable = True


class IssuanceDenied(IssuanceError):
    """Policy says no: the name is not registered, not admitted by pattern or gate, or must not have a certificate."""

    code = "issuance_denied"
    fault = Fault.CLIENT
    retryable = False


class EntitlementDenied(EdgeError):
    """A workspace may not have domains of its own: it does not pay for that."""

    code = "payment_required"
    fault = Fault.CLIENT


class EntitlementUnknown(EntitlementDenied):
    """Whether it pays cannot be found out just now."""

    code = "entitlement_unknown"
    fault = Fault.OPERATOR
    retryable = True


class LinkError(EdgeError):
    """The other process did not answer in time, or is gone."""

    code = "link_unavailable"
    retryable = True


class AdminUnavailable(EdgeError):
    """The admin socket does not answer."""

    code = "admin_unavailable"
    fault = Fault.OPERATOR
    retryable = True
