"""What the API's own description says of its operations, and input that does not fit them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from edgeproxy.config.structs import Config
from edgeproxy.control.api.app import admin_app
from edgeproxy.control.api.context import Context
from edgeproxy.control.faults import Faults
from edgeproxy.control.metrics import Metrics

JSON = "application/json"

TEXTS = (
    *(
        "",
        " ",
        "a\x00.example.com",
        "\r\nx-injected: 1",
        "\x1b[31m",
        "..",
        "../../etc/passwd",
        "..\\..\\etc",
        "%2e%2e%2f%00",
        "//",
    ),
    *(
        "*",
        "*.*.a.example",
        "a..example.com",
        "example.com.",
        "-a.example.com",
        "x" * 64 + ".example.com",
        "xn--zzzzzzzz99999.com",
    ),
    *(
        "MÜNCHEN.EXAMPLE.COM",
        "раураl.example.com",
        "例え.テスト",
        "مثال.إختبار",
        "a\u200db.example.com",
        "a\u3002example\uff0ecom",
    ),
    *(
        "\u202egnp.example.com",
        "\ufeffa.com",
        "\U0001f600.example.com",
        "e\u0301" * 40 + ".example.com",
        "\ufdfa" * 20 + ".com",
    ),
    *("127.0.0.1", "[::1]", "localhost", "co.uk", "https://user:secret@a.example.com/x?y#z", "http://[::1", "http://a:99999"),
    *(
        "unix:/run/edgeproxy/admin.sock",
        "file:///etc/passwd",
        "<script>alert(1)</script>",
        "' OR 1=1 --",
        "${jndi:ldap://a}",
        "9" * 400,
    ),
)
"""Texts that somebody made to break something."""

TYPES: dict[str, object] = {
    "null": None, "boolean": True, "integer": 7, "number": 0.5, "string": "\x01", "array": [[]], "object": {"\x01": {}}
}  # fmt: skip

BODIES: tuple[bytes, ...] = (
    *(b"{", b"}", b"[]", b'"x"', b"1", b"true", b"[" * 50_000, b'{"a":' * 50_000, b"{'a': 1}", b"{}{}", b"// x\n{}"),
    *(
        b"NaN",
        b'{"a": Infinity}',
        b"1" * 10_000,
        b"\x00",
        b"\xff\xfe",
        b'{"a": "\xff"}',
        b'{"\xed\xa0\x80": 1}',
        b"\xef\xbb\xbf{}",
    ),
    *(
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b'{"a": 1, "a": 2}',
        b'{"a": {"b": 1, "b": 2}}',
        b"--x\r\n\r\n",
        b"a=1&b=2",
    ),
)
"""Bodies that are no JSON, or not an object, or one that could be read in two ways."""

IN_PATHS: tuple[bytes, ...] = (
    *(b".", b"..", b"%2e", b"%2e%2e", b".%2E", b"%252e%252e", b"..;", b"..%2f..%2fetc%2fpasswd", b"..%5c..", b"%c0%ae%c0%ae"),
    *(b"%2f", b"a%2fb", b"%5c", b"\\", b"%00", b"a%00b.example.com", b"%0d%0aSet-Cookie:a=b", b"%20", b"%09", b"%7f", b"%"),
    *(
        b"%zz",
        b"%u0061",
        b"%ff",
        b"%c3",
        b"%ed%a0%80",
        b"%f4%90%80%80",
        b"\xff",
        b"\xc3\xbc.example.com",
        b"%E2%80%AE",
        b";a=b",
    ),
    *(b"*", b"%2a", b"%3f", b"?", b"#", b"%23", b"{domain}", b"%F0%9F%98%80", b"x" * 8_000, b"%2e" * 2_000, b"a." * 4_000),
)
"""What somebody may write in the place of a path's variable, as it goes over the wire."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """An operation as the description has it."""

    method: str
    path: str
    parameters: tuple[dict[str, Any], ...]
    body: dict[str, Any] | None
    """The schema of the body; None: it takes none."""
    needs_body: bool

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    @property
    def takes_input(self) -> bool:
        return bool(self.parameters) or self.body is not None

    @property
    def places(self) -> list[str]:
        """The variables of its path."""
        return [each["name"] for each in self.parameters if each["in"] == "path"]

    def parameters_in(self, place: str) -> dict[str, dict[str, Any]]:
        """The schemas of its parameters there, by name."""
        return {each["name"]: each["schema"] for each in self.parameters if each["in"] == place}

    def target(self, values: dict[str, bytes], query: str = "") -> bytes:
        """Its path with these values of its variables."""
        path = self.path.encode()
        for name in self.places:
            path = path.replace(b"{%s}" % name.encode(), values.get(name, b"none"))
        return path + (f"?{query}".encode() if query else b"")


class Described:
    """A description of an API."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._schemas = document.get("components", {}).get("schemas", {})
        self.operations = [
            self._operation(method.upper(), path, found)
            for path, methods in document["paths"].items()
            for method, found in methods.items()
        ]

    def _operation(self, method: str, path: str, found: dict[str, Any]) -> Operation:
        body = found.get("requestBody")
        schema = None if body is None else body["content"][JSON]["schema"]
        parameters = tuple(found.get("parameters", ()))
        return Operation(method, path, parameters, schema, bool(body and body.get("required")))

    def plain(self, schema: dict[str, Any]) -> list[dict[str, Any]]:
        """The alternatives that a schema stands for, without references."""
        if "$ref" in schema:
            return self.plain(self._schemas[schema["$ref"].rpartition("/")[2]])
        if "anyOf" in schema and "type" not in schema:
            return [each for part in schema["anyOf"] for each in self.plain(part)]
        return [schema]

    def fields(self, schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The fields of an object."""
        return {name: field for part in self.plain(schema) for name, field in part.get("properties", {}).items()}

    def fitting(self, schema: dict[str, Any]) -> Any:
        """A small value that fits, where the description tells enough."""
        part = self.plain(schema)[0]
        if "object" in _types(part):
            fields = self.fields(part)
            return {name: self.fitting(fields[name]) for name in part.get("required", ())}
        for key in ("examples", "enum"):
            if part.get(key):
                return part[key][0]
        if "const" in part:
            return part["const"]
        fitting = {"string": "a.example.com"[: part.get("maxLength", 99)], "integer": part.get("minimum", 1), "boolean": True}
        if "array" in _types(part):
            return [self.fitting(part["items"])] * part.get("minItems", 0)
        return next((value for kind, value in fitting.items() if kind in _types(part)), None)

    def misfits(self, schema: dict[str, Any]) -> Iterator[object]:
        """Values that a field must refuse: of other types, too long, too many, outside its bounds."""
        parts = self.plain(schema)
        types = {kind for part in parts for kind in _types(part)}
        yield from (
            value for kind, value in TYPES.items() if kind not in types and not (kind == "integer" and "number" in types)
        )
        for part in parts:
            if "maxLength" in part:
                yield "x" * (part["maxLength"] + 1)
                yield "\u00fc" * 200_000
            if "maximum" in part:
                yield from (part["maximum"] + 1, 10**30)
            if "minimum" in part:
                yield from (part["minimum"] - 1, -(10**30))
            if "maxItems" in part:
                yield [self.fitting(part["items"])] * (part["maxItems"] + 1)
            if "maxProperties" in part:
                yield {f"a{number}": "b" for number in range(part["maxProperties"] + 1)}
            if "items" in part:
                yield from ([value] for value in self.misfits(part["items"]))

    def wrong_bodies(self, operation: Operation) -> Iterator[bytes]:
        """Bodies that the operation must refuse, whatever there is under its path."""
        if operation.body is None:
            return
        fitting = self.fitting(operation.body)
        yield from BODIES
        if text := json.dumps(fitting).removeprefix("{").removesuffix("}"):
            yield f"{{{text}, {text}}}".encode()  # each field twice
            yield from (f"{{{text}}}".encode(coding) for coding in ("utf-16", "utf-16-be", "utf-32", "utf-8-sig"))
        yield from (json.dumps({**fitting, name: 1}).encode() for name in ("unknown", "__proto__", "", "\ud800", "x" * 100_000))
        for name, schema in self.fields(operation.body).items():
            if name in fitting:
                yield json.dumps({key: value for key, value in fitting.items() if key != name}).encode()
            yield from (json.dumps({**fitting, name: value}).encode() for value in self.misfits(schema))
            yield json.dumps({**fitting, name: "a\ud800"}).encode()

    def odd_bodies(self, operation: Operation) -> Iterator[bytes]:
        """Bodies with odd texts, of which some may pass."""
        if operation.body is None:
            return
        fitting = self.fitting(operation.body)
        for name, schema in self.fields(operation.body).items():
            for part in self.plain(schema):
                if "string" in _types(part) and "enum" not in part:
                    yield from (json.dumps({**fitting, name: text}).encode() for text in TEXTS)
                elif "items" in part:
                    yield from (json.dumps({**fitting, name: [text]}).encode() for text in TEXTS)
                elif "patternProperties" in part:
                    yield from (json.dumps({**fitting, name: {text: text}}).encode() for text in TEXTS)

    def wrong_queries(self, operation: Operation) -> Iterator[str]:
        """Queries that the operation must refuse."""
        given = operation.parameters_in("query")
        if not given:
            return
        yield from ("unknown=1", "%00=1", "%ff=1", "limit[]=1", "__proto__=1")
        for name, schema in given.items():
            for part in self.plain(schema):
                if {"integer", "number", "boolean"} & set(_types(part)) or "enum" in part:
                    yield from (
                        f"{name}={value}" for value in ("x", "%00", "%ff", "1%00", "[]", "9" * 5_000, "1e5", "٣", "0x1")
                    )
                if "maximum" in part:
                    yield f"{name}={part['maximum'] + 1}"
                if "minimum" in part:
                    yield f"{name}={part['minimum'] - 1}"
                if "maxLength" in part:
                    yield f"{name}={'x' * (part['maxLength'] + 1)}"

    def odd_queries(self, operation: Operation) -> Iterator[str]:
        """Queries with odd texts, of which some may pass."""
        for name, schema in operation.parameters_in("query").items():
            if any("string" in _types(part) and "enum" not in part for part in self.plain(schema)):
                # Resolvers that are well written are asked, and nobody would answer for seconds.
                texts = [text for text in TEXTS if name != "resolvers" or text not in ("127.0.0.1", "[::1]")]
                yield from (f"{name}={quote(text, safe='')}" for text in texts)
                yield from (f"{name}={text}" for text in ("%ff", "%", "%zz", "%ed%a0%80", f"a&{name}=b", "a;b", "+"))


def described() -> Described:
    """The API of the admin socket, which has all there is."""
    context = Context(
        config=Config(),
        metrics=Metrics("0", 1),
        faults=Faults(),
        supervisor=_Nobody(),
        started_at=time.time(),
        born_at=time.time(),
    )
    return Described(admin_app(context).openapi())


class _Nobody:
    async def ask(self, action: str, within: float) -> Any:
        raise AssertionError(f"the supervisor was asked for {action} within {within}")


def _types(schema: dict[str, Any]) -> list[str]:
    found = schema.get("type", [])
    return [found] if isinstance(found, str) else list(found)
