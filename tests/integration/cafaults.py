"""What can go wrong with a CA, for `caproxy.CaProxy.plan` and `.always`. Each function makes one fault.

Seconds are real ones, also where the test's clock is simulated.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.caexchange import Answer, Exchange, Fault, Reset
from tests.integration.caproxy import CaProxy

ERROR = "urn:ietf:params:acme:error:"


def answer(status: int, body: bytes = b"", **headers: str) -> Fault:
    """This answer, and the CA hears nothing; underscores in names of header fields are hyphens."""

    async def fault(_exchange: Exchange) -> Answer:
        return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})

    return fault


def busy(status: int = 503, *, retry_after: float | str | None = None) -> Fault:
    """What a load balancer says in front of a CA that is overloaded: a page, no nonce."""
    headers = {} if retry_after is None else {"retry_after": str(retry_after)}
    return answer(status, b"<html>Service Unavailable</html>", content_type="text/html", **headers)


def problem(
    code: str,
    status: int = 400,
    *,
    detail: str = "the CA's own words",
    retry_after: float | str | None = None,
    link: str = "",
    **more: Any,
) -> Fault:
    """A problem document (RFC 8555 section 6.7) with a good nonce, and the CA hears nothing. `more` are members of it."""

    async def fault(exchange: Exchange) -> Answer:
        headers = {"content-type": "application/problem+json", "replay-nonce": await exchange.nonce()}
        if retry_after is not None:
            headers["retry-after"] = str(retry_after)
        if link:
            headers["link"] = link
        document = {"type": ERROR + code, "detail": detail, "status": status} | more
        return Answer(status, json.dumps(document).encode(), headers)

    return fault


def in_a_while(ca: CaProxy, seconds: float) -> str:
    """A Retry-After that is a date, by the CA's clock."""
    return formatdate(ca.clock() + ca.skew + seconds, usegmt=True)


def reset(*, after: bool = False) -> Fault:
    """The connection is reset: before the CA heard of the request, or `after` it has done what was asked."""

    async def fault(exchange: Exchange) -> Answer:
        if after:
            await exchange.pass_on()
        raise Reset

    return fault


def slow(seconds: float) -> Fault:
    """The answer takes so long."""

    async def fault(exchange: Exchange) -> Answer:
        answered = await exchange.pass_on()
        await asyncio.sleep(seconds)
        return answered

    return fault


def late(seconds: float, fault: Fault) -> Fault:
    """Another fault, whose answer takes so long."""

    async def later(exchange: Exchange) -> Answer:
        answered = await fault(exchange)
        await asyncio.sleep(seconds)
        return answered

    return later


def held(until: asyncio.Event) -> Fault:
    """The answer comes when the event is set; the CA has done what was asked."""

    async def fault(exchange: Exchange) -> Answer:
        answered = await exchange.pass_on()
        await until.wait()
        return answered

    return fault


def edited(edit: Callable[[Any], Any]) -> Fault:
    """The CA's JSON, changed: `edit` gets it and returns what takes its place. Refusals pass unchanged."""

    async def fault(exchange: Exchange) -> Answer:
        answered = await exchange.pass_on()
        return answered if answered.status >= 400 else answered.with_json(edit(answered.json))

    return fault


def without(*fields: str) -> Fault:
    """The CA's JSON without these fields."""
    return edited(lambda value: {name: value[name] for name in value if name not in fields})


def malformed(body: bytes = b'{"status": "val') -> Fault:
    """The CA does what was asked, and the body of its answer is not what it ought to be."""

    async def fault(exchange: Exchange) -> Answer:
        answered = await exchange.pass_on()
        return Answer(answered.status, body, answered.headers)

    return fault


def ignored() -> Fault:
    """For challenges: the CA says that it looks, and never does."""

    async def fault(exchange: Exchange) -> Answer:
        url = exchange.proxy.url + exchange.request.path
        headers = {"content-type": "application/json", "replay-nonce": await exchange.nonce()}
        return Answer(200, json.dumps({"type": "unknown", "url": url, "status": "processing"}).encode(), headers)

    return fault


def pending(authorization: Any) -> Any:
    """For `edited`: an authorization that the CA is still checking."""
    challenges = [{**challenge, "status": "processing"} for challenge in authorization["challenges"]]
    return {**authorization, "status": "pending", "challenges": challenges}


def invalid(order: Any) -> Any:
    """For `edited`: an order that has failed for a reason that the CA keeps to itself."""
    return {name: value for name, value in order.items() if name not in ("certificate", "error")} | {"status": "invalid"}


def chain(
    *, names: Sequence[str] = (), other_key: bool = False, broken: bool = False, life: float = 0.0, ahead: float = 0.0
) -> Fault:
    """A certificate that is not what was ordered: for other names, for a key that is not ours, with an issuer that did not
    sign it (`broken`), of another life in seconds, or valid only `ahead` seconds from now."""

    async def fault(exchange: Exchange) -> Answer:
        answered = await exchange.pass_on()
        if answered.status != 200:
            return answered
        key = ec.generate_private_key(ec.SECP256R1()).public_key() if other_key else None
        newer = exchange.proxy.newer
        body = newer.signed_again(answered.body, names=names, key=key, broken=broken, life=life, ahead=ahead)
        return Answer(200, body, answered.headers)

    return fault
