"""An ACME CA within the test's own process, for what a real one cannot be told to do: lose answers, be busy, lie.

It checks nonces and accounts as a real one does, but no signatures. Real CAs are met in tests/integration.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx2
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from edgeproxy.control.issuance.certificates import make_root, sign_leaf

HOST = "https://ca.example"
DIRECTORY = f"{HOST}/dir"


@dataclasses.dataclass
class FakeOrder:
    number: int
    account: str
    name: str
    status: str = "pending"
    authorization: str = "pending"
    challenges: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    polls: int = 0
    certificate: bytes = b""


class Refuse(Exception):
    """A problem document as the answer."""

    def __init__(self, code: str, status: int = 400, detail: str = "because", headers: dict[str, str] | None = None) -> None:
        self.code, self.status, self.detail, self.headers = code, status, detail, headers or {}


class FakeCa(httpx2.AsyncBaseTransport):
    """Faults are planned with `plan(kind, action)`: the next request of that kind meets the action, in order.

    Kinds: dir, nonce, account, acct, list, new, order, authz, challenge, finalize, cert, revoke,
    keychange, renewal. Actions: "refuse" (no connection),
    "lose" (done, but the answer gets lost), "drop" (not done, the connection ends), a Refuse, an httpx2.Response, or a
    function called before the request is handled.
    """

    def __init__(self, clock: Callable[[], float], *, lists_orders: bool = True, offers: tuple[str, ...] | None = None) -> None:
        self.clock = clock
        self.lists_orders = lists_orders
        self.offers = offers or ("http-01", "dns-01", "tls-alpn-01")
        self.root, self.root_key = make_root(clock(), timedelta(days=3650))
        self.life = timedelta(days=90)
        self.nonces: set[str] = set()
        self.accounts: dict[str, str] = {}
        self.contacts: list[Any] = []
        self.orders: list[FakeOrder] = []
        self.asked: list[str] = []
        self.plans: list[tuple[str, Any]] = []
        self.meta: dict[str, Any] = {}
        self.fails: dict[str, str] = {}
        """Challenge type → problem code with which its validation fails."""
        self.issuers = ["ca.example"]
        """Of dns-persist-01."""
        self.polls_needed = 0
        """Looks at an authorization or order until it has moved on."""
        self.retry_after = ""
        self.closed = 0
        self.asked_about: list[str] = []
        """Identifiers of certificates whose renewal it was asked about."""
        self.revoked: list[tuple[int, int, str]] = []
        """(serial, reason, "account" or "key")."""
        self.other_tops: list[bytes] = []
        """For each further chain that is offered the certificate above the leaf, PEM."""
        self.lacks: set[str] = set()
        """Resources that the directory leaves out."""
        self.window: dict[str, str] | None = None
        """The suggestedWindow of every certificate (RFC 9773); None: it does not have that."""

    def plan(self, kind: str, *actions: Any) -> None:
        self.plans += [(kind, action) for action in actions]

    def count(self, kind: str) -> int:
        return self.asked.count(kind)

    async def aclose(self) -> None:
        self.closed += 1

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        parts = request.url.path.strip("/").split("/")
        kind = parts[0]
        self.asked.append(kind)
        action = self._planned(kind)
        if action == "refuse":
            raise httpx2.ConnectError("connection refused")
        if action == "drop":
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
        if isinstance(action, httpx2.Response):
            return action
        if callable(action) and not isinstance(action, Refuse):
            action()
        try:
            if isinstance(action, Refuse):
                raise action
            status, headers, body = self._handle(kind, parts, request)
        except Refuse as refuse:
            status, headers = refuse.status, refuse.headers
            body = {"type": f"urn:ietf:params:acme:error:{refuse.code}", "detail": refuse.detail}
        if action == "lose":
            raise httpx2.ReadError("connection reset")
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        nonce = secrets.token_urlsafe(16)
        self.nonces.add(nonce)
        return answer(status, headers if kind == "dir" else {"replay-nonce": nonce} | headers, content)

    def _planned(self, kind: str) -> Any:
        for place, (planned, action) in enumerate(self.plans):
            if planned == kind:
                del self.plans[place]
                return action
        return None

    def _handle(self, kind: str, parts: list[str], request: httpx2.Request) -> tuple[int, dict[str, str], Any]:
        if kind == "dir":
            urls = {"newNonce": f"{HOST}/nonce", "newAccount": f"{HOST}/account", "newOrder": f"{HOST}/new"}
            urls |= {"revokeCert": f"{HOST}/revoke", "keyChange": f"{HOST}/keychange"}
            if self.window is not None:
                urls["renewalInfo"] = f"{HOST}/renewal/"
            return 200, {}, {name: url for name, url in urls.items() if name not in self.lacks} | {"meta": self.meta}
        if kind == "nonce":
            return 200, {}, b""
        if kind == "renewal":
            self.asked_about.append(parts[1])
            headers = {"retry-after": self.retry_after} if self.retry_after else {}
            return 200, headers, {"suggestedWindow": self.window, "explanationURL": "https://ca.example/why"}
        message = json.loads(request.content)
        protected = json.loads(_unb64(message["protected"]))
        payload = json.loads(_unb64(message["payload"])) if message["payload"] else None
        if protected["nonce"] not in self.nonces:
            raise Refuse("badNonce")
        self.nonces.remove(protected["nonce"])
        if kind == "account":
            return self._account(protected, payload)
        account = protected.get("kid", "")
        if kind == "revoke" and "jwk" in protected:
            return self._revoke("key", payload)
        if account not in self.accounts.values():
            raise Refuse("accountDoesNotExist")
        if kind == "acct":
            return 200, {}, {"status": "valid"} | ({"orders": f"{HOST}/list/0"} if self.lists_orders else {})
        if kind == "list":
            return self._list(account, int(parts[1]))
        if kind == "revoke":
            return self._revoke("account", payload)
        if kind == "keychange":
            return self._change_key(account, payload)
        if kind == "new":
            return self._new(account, payload)
        order = self.orders[int(parts[1])]
        if order.account != account:
            raise Refuse("unauthorized", 403)
        headers = {"retry-after": self.retry_after} if self.retry_after else {}
        if kind == "order":
            return 200, headers, self._order(order)
        if kind == "authz":
            return 200, headers, self._authorization(order)
        if kind == "challenge":
            return 200, {}, self._challenge(order, parts[2])
        if kind == "finalize":
            return 200, headers, self._finalize(order, payload)
        if kind == "alternate":
            leaf = order.certificate.partition(b"-----END CERTIFICATE-----\n")
            return 200, {}, leaf[0] + leaf[1] + self.other_tops[int(parts[2])]
        further = ", ".join(
            f'<{HOST}/alternate/{order.number}/{place}>;rel="alternate"' for place in range(len(self.other_tops))
        )
        return 200, {"link": further} if further else {}, order.certificate

    def _account(self, protected: Any, payload: Any) -> tuple[int, dict[str, str], Any]:
        key = json.dumps(protected["jwk"], sort_keys=True)
        known = key in self.accounts
        if not known and payload.get("onlyReturnExisting"):
            raise Refuse("accountDoesNotExist")
        if not known:
            self.accounts[key] = f"{HOST}/acct/{len(self.accounts)}"
            self.contacts.append(payload)
        return 200 if known else 201, {"location": self.accounts[key]}, {"status": "valid"}

    def _revoke(self, by: str, payload: Any) -> tuple[int, dict[str, str], Any]:
        leaf = x509.load_der_x509_certificate(_unb64(payload["certificate"]))
        if leaf.serial_number in [serial for serial, _, _ in self.revoked]:
            raise Refuse("alreadyRevoked")
        self.revoked.append((leaf.serial_number, payload["reason"], by))
        return 200, {}, b""

    def _change_key(self, account: str, payload: Any) -> tuple[int, dict[str, str], Any]:
        inner = json.loads(_unb64(payload["payload"]))
        protected = json.loads(_unb64(payload["protected"]))
        old, new = json.dumps(inner["oldKey"], sort_keys=True), json.dumps(protected["jwk"], sort_keys=True)
        if inner["account"] != account or self.accounts.get(old) != account or protected["url"] != f"{HOST}/keychange":
            raise Refuse("malformed")
        if new in self.accounts:
            raise Refuse("conflict", 409)
        del self.accounts[old]
        self.accounts[new] = account
        return 200, {}, {"status": "valid"}

    def _list(self, account: str, page: int) -> tuple[int, dict[str, str], Any]:
        urls = [f"{HOST}/order/{order.number}" for order in self.orders if order.account == account]
        headers = {"link": f'<{HOST}/list/{page + 1}>;rel="next"'} if len(urls) > page * 2 + 2 else {}
        return 200, headers, {"orders": urls[page * 2 : page * 2 + 2]}

    def _new(self, account: str, payload: Any) -> tuple[int, dict[str, str], Any]:
        self.last_order = payload
        order = FakeOrder(len(self.orders), account, payload["identifiers"][0]["value"])
        for kind in self.offers:
            if order.name.startswith("*.") and not kind.startswith("dns-"):
                continue
            url = f"{HOST}/challenge/{order.number}/{kind}"
            order.challenges[kind] = {"type": kind, "url": url, "status": "pending", "token": secrets.token_urlsafe(16)}
            if kind == "dns-persist-01":
                del order.challenges[kind]["token"]
                order.challenges[kind] |= {"issuer-domain-names": self.issuers, "accounturi": account}
        self.orders.append(order)
        return 201, {"location": f"{HOST}/order/{order.number}"}, self._order(order)

    def _order(self, order: FakeOrder) -> dict[str, Any]:
        if order.status == "processing":
            order.polls += 1
            if order.polls > self.polls_needed:
                order.status = "valid"
        body: dict[str, Any] = {
            "status": order.status,
            "identifiers": [{"type": "dns", "value": order.name}],
            "authorizations": [f"{HOST}/authz/{order.number}"],
            "finalize": f"{HOST}/finalize/{order.number}",
        }
        return body | ({"certificate": f"{HOST}/cert/{order.number}"} if order.status == "valid" else {})

    def _authorization(self, order: FakeOrder) -> dict[str, Any]:
        if any(challenge["status"] == "processing" for challenge in order.challenges.values()):
            order.polls += 1
            if order.polls > self.polls_needed:
                self._decide(order)
        return {
            "status": order.authorization,
            "identifier": {"type": "dns", "value": order.name.removeprefix("*.")},
            "challenges": list(order.challenges.values()),
        }

    def _decide(self, order: FakeOrder) -> None:
        kind = next(kind for kind, challenge in order.challenges.items() if challenge["status"] == "processing")
        challenge, code = order.challenges[kind], self.fails.get(kind)
        if code is None:
            challenge["status"] = order.authorization = "valid"
            order.status = "ready"
        else:
            challenge["status"] = order.authorization = order.status = "invalid"
            challenge["error"] = {"type": f"urn:ietf:params:acme:error:{code}", "detail": "it did not work"}
        order.polls = 0

    def _challenge(self, order: FakeOrder, kind: str) -> dict[str, Any]:
        if order.challenges[kind]["status"] != "pending":
            raise Refuse("malformed", detail="the challenge is not pending")
        order.challenges[kind]["status"] = "processing"
        return order.challenges[kind]

    def _finalize(self, order: FakeOrder, payload: Any) -> dict[str, Any]:
        if order.status != "ready":
            raise Refuse("orderNotReady", 403)
        request = x509.load_der_x509_csr(_unb64(payload["csr"]))
        leaf = sign_leaf(self.root, self.root_key, _Public(request), (order.name,), self.clock(), self.life)  # type: ignore[arg-type]
        order.certificate = leaf.public_bytes(Encoding.PEM) + self.root.public_bytes(Encoding.PEM)
        order.status, order.polls = "processing", -1
        return self._order(order)


class _Public:
    """Stands where a key is asked for its public half."""

    def __init__(self, request: x509.CertificateSigningRequest) -> None:
        self._request = request

    def public_key(self) -> Any:
        return self._request.public_key()


def answer(status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> httpx2.Response:
    """A response that can be streamed."""

    async def pieces():
        yield body

    return httpx2.Response(status, headers=headers, content=pieces())


def _unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
