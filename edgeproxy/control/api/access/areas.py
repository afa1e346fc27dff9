"""Which tokens are let into which part of the API."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Request, Security
from fastapi.security import HTTPBearer

from edgeproxy.control.api.access.caller import caller_of, forbidden
from edgeproxy.model import TokenScope

_BEARER = HTTPBearer(auto_error=False, description="A token, made by `edgeproxy tokens create` or POST /api/v1/tokens")
"""Told in /openapi.json. Who sent it was found out before (`access.door`)."""


class Area(NamedTuple):
    """A router, and the scopes of which one is needed there. Whose domains they are is the endpoints' to look at
    (`Caller.owns`)."""

    router: APIRouter
    read: frozenset[TokenScope]
    """For GET."""
    write: frozenset[TokenScope]
    """For everything else."""


def allowed(area: Area) -> Any:
    """A dependency that refuses whoever has none of the area's scopes."""

    async def check(request: Request, _: Annotated[object, Security(_BEARER)]) -> None:
        caller = caller_of(request)
        needed = area.read if request.method == "GET" else area.write
        if not caller.may(needed):
            have = "" if caller.scope is None else caller.scope.value
            raise forbidden(
                f"This token has the scope {have}; this takes {' or '.join(sorted(scope.value for scope in needed))}."
            )

    return Depends(check)
