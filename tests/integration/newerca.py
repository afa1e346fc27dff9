"""What newer CAs have and Debian's pebble has not, added by the proxy in front of it (`caproxy.CaProxy.newer`).

    ca.newer.renewal_info = False                # without ARI (RFC 9773), as an older CA
    ca.newer.suggest(chain, start, end)          # the window of one certificate (its PEM chain, or its ARI id); Unix times
    ca.newer.suggest_all(start, end)             # of all, those to come too: a mass revocation is a window in the past
    ca.newer.retry_after = 21_600                # with each answer to renewalInfo
    ca.newer.certificates                        # what was handed out: ids, names, what replaced it
    ca.newer.orders                              # profile and replaces of each order, by its URL
    ca.newer.profiles["shortlived"] = "https://…"; ca.newer.lives["shortlived"] = 160 * 3600
    ca.newer.lives[""] = 6 * 86_400              # certificates without a profile, signed again by the proxy's own root
    ca.newer.persist = ("ca.example",)           # dns-persist-01 is offered in the place of dns-01
    ca.newer.persistent["a.example.com"] = ["ca.example; accounturi=…"]   # TXT records at _validation-persist.a.example.com

`replaces` is checked as section 5 says: the certificate is known (else malformed), of the same account (else unauthorized),
shares a name (else malformed), and no order replaces it that has not failed (else 409 alreadyReplaced).

A dns-persist-01 challenge is pebble's dns-01 in disguise: where a record fits, the proxy puts the TXT record that dns-01
wants into challtestsrv before pebble looks. Pebble can revoke only what it signed itself.
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import hashlib
import ipaddress
import json
from collections.abc import Sequence
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.integration.caexchange import Answer, Request

if TYPE_CHECKING:
    from tests.integration.caproxy import CaProxy

_PATH = "/renewal-info/"


@dataclasses.dataclass
class Handed:
    """A certificate that was handed out."""

    id: str
    """As in renewalInfo's URL (RFC 9773 section 4.1)."""
    names: tuple[str, ...]
    account: str
    not_before: float
    not_after: float
    window: tuple[float, float] | None = None
    """None: the default, which begins when a third of its life is left."""
    retry_after: float | None = None


@dataclasses.dataclass
class Ordered:
    """What a newOrder said beyond RFC 8555."""

    names: tuple[str, ...]
    profile: str
    replaces: str
    failed: bool = False


class NewerCa:
    """See the module."""

    def __init__(self, proxy: CaProxy) -> None:
        self._proxy = proxy
        self.renewal_info = True
        self.retry_after: float | None = 21_600.0
        self.explanation = ""
        self.profiles: dict[str, str] = {}
        self.lives: dict[str, float] = {}
        self.persist: tuple[str, ...] = ()
        self.persistent: dict[str, list[str]] = {}
        self.certificates: dict[str, Handed] = {}
        self.orders: dict[str, Ordered] = {}
        self._everybody: tuple[float, float] | None = None
        self._thumbprints: dict[str, str] = {}
        self._profile_of: dict[str, str] = {}
        self._disguised: dict[str, tuple[str, str]] = {}
        self._signed: dict[str, bytes] = {}
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._root = _certificate(
            "root of the CA proxy",
            self._key.public_key(),
            None,
            self._key,
            proxy.clock() - 86_400,
            proxy.clock() + 86_400 * 3_650,
        )
        self.root_pem = self._root.public_bytes(serialization.Encoding.PEM)

    # For tests

    def suggest(self, certificate: bytes | str, start: float, end: float, *, retry_after: float | None = None) -> None:
        """When to renew one certificate: its PEM chain, or its id."""
        handed = self.certificates[certificate if isinstance(certificate, str) else ari_id(certificate)]
        handed.window, handed.retry_after = (start, end), retry_after

    def suggest_all(self, start: float, end: float) -> None:
        """When to renew all of them."""
        self._everybody = (start, end)
        for handed in self.certificates.values():
            handed.window = None

    def replacing(self, certificate: bytes | str) -> list[Ordered]:
        """The orders that said they replace it."""
        wanted = certificate if isinstance(certificate, str) else ari_id(certificate)
        return [order for order in self.orders.values() if order.replaces == wanted]

    # For the proxy

    async def before(self, request: Request) -> Answer | None:
        """An answer that pebble would not give; None: it is asked."""
        if request.kind == "renewalInfo":
            return self._renewal(request)
        if request.kind == "newOrder" and isinstance(request.payload, dict):
            return await self._refusal(request)
        if request.kind == "challenge" and request.path in self._disguised:
            await self._answer_persistent(request)
        return None

    async def after(self, request: Request, answer: Answer) -> Answer:
        """Pebble's answer with what it lacks."""
        if answer.status >= 400 or not answer.body:
            return answer
        if request.kind == "certificate":
            return self._certificate(request, answer)
        value = answer.json
        if not isinstance(value, dict):
            return answer
        if request.kind == "directory":
            return answer.with_json(self._directory(value))
        if request.kind == "newAccount":
            self._thumbprints[answer.headers.get("location", "")] = _thumbprint(request.jwk)
        elif request.kind == "newOrder":
            url = answer.headers["location"]
            self.orders[url] = Ordered(
                tuple(request.names), request.payload.get("profile", ""), request.payload.get("replaces", "")
            )
            return answer.with_json(self._order(url, value))
        elif request.kind in ("order", "finalize"):
            url = answer.headers.get("location") or self._proxy.url + request.path
            return answer.with_json(self._order(url, value))
        elif request.kind == "authorization":
            return answer.with_json(self._authorization(value))
        elif request.kind == "challenge" and request.path in self._disguised:
            return answer.with_json(self._disguise(value))
        return answer

    def _directory(self, directory: dict[str, Any]) -> dict[str, Any]:
        if self.renewal_info:
            directory["renewalInfo"] = self._proxy.url + _PATH.rstrip("/")
        if self.profiles:
            directory["meta"] = {**directory.get("meta", {}), "profiles": self.profiles}
        return directory

    async def _refusal(self, request: Request) -> Answer | None:
        profile, replaces = request.payload.get("profile", ""), request.payload.get("replaces", "")
        if profile and profile not in self.profiles:
            return await self._problem("invalidProfile", 400, f"there is no profile {profile}")
        if not replaces or not self.renewal_info:
            return None
        before = self.certificates.get(replaces)
        if before is None:
            return await self._problem("malformed", 404, "there is no such certificate to replace")
        if before.account != request.account:
            return await self._problem("unauthorized", 403, "the certificate to replace is another account's")
        if not set(before.names) & set(request.names):
            return await self._problem("malformed", 400, "the certificate to replace has none of these names")
        if any(not order.failed for order in self.replacing(replaces)):
            return await self._problem("alreadyReplaced", 409, "another order replaces this certificate")
        return None

    def _order(self, url: str, order: dict[str, Any]) -> dict[str, Any]:
        noted = self.orders.get(url)
        if noted is None:
            return order
        noted.failed = order.get("status") == "invalid"
        if "certificate" in order:
            self._profile_of[order["certificate"].removeprefix(self._proxy.url)] = noted.profile
        more = {"profile": noted.profile, "replaces": noted.replaces}
        return order | {name: value for name, value in more.items() if value}

    def _renewal(self, request: Request) -> Answer:
        handed = self.certificates.get(request.path.removeprefix(_PATH))
        if handed is None or not self.renewal_info:
            problem = {"type": "urn:ietf:params:acme:error:malformed", "detail": "there is no such certificate"}
            return Answer(404, json.dumps(problem).encode(), {"content-type": "application/problem+json"})
        late = handed.not_after - (handed.not_after - handed.not_before) / 3
        start, end = handed.window or self._everybody or (late, late + (handed.not_after - late) / 10)
        body: dict[str, Any] = {"suggestedWindow": {"start": _text(start), "end": _text(end)}}
        if self.explanation:
            body["explanationURL"] = self.explanation
        wait = self.retry_after if handed.retry_after is None else handed.retry_after
        headers = {} if wait is None else {"retry-after": f"{wait:.0f}"}
        return Answer(200, json.dumps(body).encode(), {"content-type": "application/json"} | headers)

    def _certificate(self, request: Request, answer: Answer) -> Answer:
        body = self._signed.get(request.path)
        if body is None:
            life = self.lives.get(self._profile_of.get(request.path, ""), 0.0)
            skew = self._proxy.skew
            body = self.signed_again(answer.body, life=life, ahead=skew) if life or skew else answer.body
            self._signed[request.path] = body
            leaf = x509.load_pem_x509_certificates(body)[0]
            names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
            dates = leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp()
            handed = Handed(ari_id(body), tuple(names), request.account, *dates)
            self.certificates[handed.id] = handed
        return dataclasses.replace(answer, body=body)

    def signed_again(
        self,
        chain: bytes,
        *,
        names: Sequence[str] = (),
        key: ec.EllipticCurvePublicKey | None = None,
        broken: bool = False,
        life: float = 0.0,
        ahead: float = 0.0,
    ) -> bytes:
        """A chain like this one under our own root; `broken`: under one that did not sign it. Valid from now and `ahead`."""
        leaf = x509.load_pem_x509_certificates(chain)[0]
        found = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
        start = self._proxy.clock() + ahead
        life = life or (leaf.not_valid_after_utc - leaf.not_valid_before_utc).total_seconds()
        signer = ec.generate_private_key(ec.SECP256R1()) if broken else self._key
        new = _certificate("", key or leaf.public_key(), self._root, signer, start, start + life, names or found)
        return new.public_bytes(serialization.Encoding.PEM) + self.root_pem

    def _authorization(self, authorization: dict[str, Any]) -> dict[str, Any]:
        if not self.persist:
            return authorization
        name = authorization["identifier"]["value"]
        challenges = []
        for challenge in authorization["challenges"]:
            if challenge["type"] == "dns-01":
                self._disguised[challenge["url"].removeprefix(self._proxy.url)] = name, challenge.get("token", "")
                challenges.append(self._disguise(challenge))
            else:
                challenges.append(challenge)
        return authorization | {"challenges": challenges}

    def _disguise(self, challenge: dict[str, Any]) -> dict[str, Any]:
        kept = {name: value for name, value in challenge.items() if name != "token"}
        return kept | {"type": "dns-persist-01", "issuer-domain-names": list(self.persist)}

    async def _answer_persistent(self, request: Request) -> None:
        name, token = self._disguised[request.path]
        for record in self.persistent.get(name, ()):
            issuer, *parameters = [part.strip() for part in record.split(";")]
            if issuer in self.persist and f"accounturi={request.account}" in parameters:
                digest = hashlib.sha256(f"{token}.{self._thumbprints[request.account]}".encode()).digest()
                await self._proxy.pebble.dns.manage("set-txt", host=f"_acme-challenge.{name}.", value=_b64(digest))

    async def _problem(self, code: str, status: int, detail: str) -> Answer:
        problem = {"type": f"urn:ietf:params:acme:error:{code}", "detail": detail, "status": status}
        headers = {"content-type": "application/problem+json", "replay-nonce": await self._proxy.nonce()}
        return Answer(status, json.dumps(problem).encode(), headers)


def ari_id(chain: bytes) -> str:
    """The unique identifier of a chain's leaf (RFC 9773 section 4.1)."""
    leaf = x509.load_pem_x509_certificates(chain)[0]
    authority = leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
    serial = leaf.serial_number.to_bytes(leaf.serial_number.bit_length() // 8 + 1, "big")
    return f"{_b64(authority)}.{_b64(serial)}"


def write_server_certificate(certificate_path: Path, key_path: Path, addresses: Sequence[str]) -> None:
    """A self-signed certificate for addresses, which clients trust by its own file; nothing where it is there already."""
    if certificate_path.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(UTC).timestamp()
    certificate = _certificate("CA proxy for tests", key.public_key(), None, key, now - 3_600, now + 30 * 86_400, addresses)
    key_path.touch(mode=0o600)
    pem, pkcs8 = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    key_path.write_bytes(key.private_bytes(pem, pkcs8, serialization.NoEncryption()))
    certificate_path.write_bytes(certificate.public_bytes(pem))


def _certificate(
    subject: str,
    key: Any,
    issuer: x509.Certificate | None,
    signer: ec.EllipticCurvePrivateKey,
    start: float,
    end: float,
    names: Sequence[str] = (),
) -> x509.Certificate:
    """A certificate; without `issuer` a self-signed one."""
    parts = [x509.NameAttribute(x509.NameOID.COMMON_NAME, subject)] if subject else []
    name = x509.Name(parts)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name if issuer is None else issuer.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime.datetime.fromtimestamp(start, UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(end, UTC))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=not subject)
    return builder.sign(signer, hashes.SHA256())


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _thumbprint(jwk: dict[str, str]) -> str:
    """RFC 7638, for the keys that accounts have."""
    needed = {name: jwk[name] for name in ("crv", "e", "kty", "n", "x", "y") if name in jwk}
    return _b64(hashlib.sha256(json.dumps(needed, sort_keys=True, separators=(",", ":")).encode()).digest())


def _text(moment: float) -> str:
    return datetime.datetime.fromtimestamp(moment, UTC).isoformat().replace("+00:00", "Z")


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
