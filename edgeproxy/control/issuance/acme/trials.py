"""Which challenge is tried next for a name, and what is said when none is left. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from edgeproxy.control.issuance.acme.challenges import BY_ADDRESS, SOLVABLE, NotApplicable
from edgeproxy.control.issuance.acme.problems import CaRefused
from edgeproxy.errors import Fault, IssuanceError

NOT_OFFERED = "unsupportedChallenge"
"""`CaRefused.problem` where the CA does not offer the challenge for this name: its order stays as it is."""

_NO_ADDRESS = frozenset(("dns", "unknownHost"))
"""What a CA says of a name that it could not look up."""


class Trail(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What an order's row remembers of its challenges."""

    kind: str = ""
    """The one that is being tried."""
    failed: dict[str, str] = {}
    """Those that failed before, with the reason."""

    def pack(self) -> bytes:
        """For `Order.data`."""
        return msgspec.json.encode(self)


def read_trail(data: bytes) -> Trail:
    """What `pack` wrote, or an earlier version, which wrote the challenge's name alone."""
    try:
        return msgspec.json.decode(data, type=Trail)
    except msgspec.MsgspecError:
        kind = data.decode("ascii", "replace")
        return Trail(kind=kind if kind in SOLVABLE else "")


class Trials:
    """The challenges of one issuance."""

    def __init__(self, name: str, kinds: Sequence[str], trail: Trail) -> None:
        """`kinds`, most preferred first; what `trail` says was begun goes before them, what it says failed is left out."""
        self._name = name
        first = [trail.kind] if trail.kind in kinds else []
        failed = {kind: reason for kind, reason in trail.failed.items() if kind in kinds and kind not in first}
        self._left = first + [kind for kind in kinds if kind not in first and kind not in failed]
        self._reasons: dict[str, IssuanceError] = {kind: NotApplicable(reason) for kind, reason in failed.items()}

    def bar(self, kind: str, error: IssuanceError) -> None:
        """Leaves a challenge out for a reason that is known beforehand."""
        if kind in self._left:
            self._left.remove(kind)
            self._reasons[kind] = error

    @property
    def next(self) -> str | None:
        """The challenge to try; None when there is none left."""
        return self._left[0] if self._left else None

    def trail(self) -> Trail:
        """What is to be remembered while `next` is tried."""
        return Trail(kind=self.next or "", failed={kind: error.detail for kind, error in self._reasons.items()})

    def failed(self, error: IssuanceError) -> bool:
        """Notes why `next` did not do. False where the reason has nothing to do with the challenge: then another one would
        fare the same, and nothing is noted."""
        kind = self.next
        if kind is None:
            return False
        if isinstance(error, CaRefused) and not (error.problem == NOT_OFFERED or error.another_challenge_may_help):
            if error.problem not in _NO_ADDRESS:
                return False
            for other in [other for other in self._left[1:] if kind in BY_ADDRESS and other in BY_ADDRESS]:
                self._left.remove(other)
                self._reasons[other] = NotApplicable(f"It was not tried: it needs the same address as {kind}.")
        self._left.remove(kind)
        self._reasons[kind] = error
        return True

    def error(self) -> IssuanceError:
        """What is said when none is left: every challenge with its reason."""
        if len(self._reasons) == 1:
            return next(iter(self._reasons.values()))
        said = " ".join(f"{kind}: {error.detail}" for kind, error in self._reasons.items())
        detail = f"No challenge proves {self._name} to the CA. {said}"
        errors = list(self._reasons.values())
        refusals = [error for error in errors if isinstance(error, CaRefused)]
        if not refusals:
            worst = self._to_blame(errors)
            retryable = any(error.retryable for error in errors)
            return IssuanceError(detail, code=worst.code, fault=worst.fault, retryable=retryable)
        told = [error for error in refusals if error.problem != NOT_OFFERED] or refusals
        return CaRefused(
            detail,
            problem=told[-1].problem,
            fault=told[-1].fault,
            retryable=any(error.retryable for error in errors),
            retry_after=max(error.retry_after for error in refusals),
            status=told[-1].status,
            challenge=told[-1].challenge,
        )

    def _to_blame(self, errors: Sequence[IssuanceError]) -> IssuanceError:
        """The one that says most of what to do: what was tried and failed, then what the customer lacks."""
        order = [error for error in errors if not isinstance(error, NotApplicable)]
        order += [error for error in errors if error.fault is Fault.CUSTOMER_DNS]
        return [*order, *errors][0]
