"""A domain's own settings as the operator API takes them: `edgeproxy.policies`, checked and described."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from edgeproxy.config import compression
from edgeproxy.config.rules import addresses
from edgeproxy.limits import REQUEST_BODY
from edgeproxy.policies import (
    COMPRESSION_NEVER,
    HEADER_NAME,
    HEADER_VALUE,
    HEADERS,
    HSTS,
    NETWORKS,
    NOT_SET,
    RATE,
    header,
    parse_hsts,
    rate,
)


def _headers(given: dict[str, str]) -> dict[str, str]:
    for name, value in given.items():
        if header(name, value)[0] != name:
            raise ValueError(f"{name!r} has capital letters; write {name.lower()!r}")
    return given


def _hsts(text: str) -> str:
    if text:
        parse_hsts(text)
    return text


_CIDR: dict[str, Any] = {
    "anyOf": [
        {"pattern": r"^((25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])\.){3}(25[0-5]|2[0-4][0-9]|1?[0-9]?[0-9])(/(3[0-2]|[12]?[0-9]))?$"},
        {"pattern": r"^[0-9A-Fa-f:.]{2,45}(/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))?$"},
    ]
}
Networks = Annotated[
    list[
        Annotated[
            str, Field(max_length=49, examples=["192.0.2.0/24"], json_schema_extra=_CIDR), AfterValidator(addresses.network)
        ]
    ],
    Field(max_length=NETWORKS),
]
Headers = Annotated[
    dict[
        Annotated[str, Field(json_schema_extra={"pattern": HEADER_NAME})],
        Annotated[str, Field(max_length=HEADER_VALUE, json_schema_extra={"pattern": "^([!-~]([ -~]*[!-~])?)?$"})],
    ],
    Field(
        max_length=HEADERS,
        examples=[{"x-frame-options": "DENY"}],
        json_schema_extra={"additionalProperties": False, "propertyNames": {"not": {"enum": sorted(NOT_SET)}}},
    ),
    AfterValidator(_headers),
]
HstsText = Annotated[
    str,
    Field(
        max_length=64, examples=["365d; includeSubDomains"], json_schema_extra={"anyOf": [{"maxLength": 0}, {"pattern": HSTS}]}
    ),
    AfterValidator(_hsts),
]


RateText = Annotated[
    str,
    Field(max_length=32, examples=["100/s burst 400"], json_schema_extra={"anyOf": [{"maxLength": 0}, {"pattern": RATE}]}),
    AfterValidator(lambda text: rate(text) if text else text),
]


Paths = Annotated[
    list[
        Annotated[
            str,
            Field(max_length=256, examples=["/account"], json_schema_extra={"pattern": compression.PATH}),
            AfterValidator(compression.path),
        ]
    ],
    Field(max_length=COMPRESSION_NEVER),
]


class PoliciesIn(BaseModel):
    """A domain's own settings. What is left out stays as it is; null, or empty: as the configuration says."""

    model_config = ConfigDict(extra="forbid", strict=True)

    headers: Headers | None = Field(
        default=None,
        description="Header fields that answers get where the origin's have none of that name, by lower-case name; they go "
        "before those of `http.headers`. An empty value: none of this name, though `http.headers` has it",
    )
    allow: Networks | None = Field(
        default=None, description="The only networks whose clients are answered, instead of `http.allow`; others get 403"
    )
    deny: Networks | None = Field(default=None, description="Networks whose clients get 403, beside those of `http.deny`")
    hsts: HstsText | None = Field(
        default=None,
        description='Strict-Transport-Security, instead of `tls.hsts`: for how long, with "; includeSubDomains" and '
        '"; preload" where they are wanted. "off": none; "0s": browsers are to forget',
    )

    rate_per_network: RateText | None = Field(
        default=None,
        description="How many requests a client network (/24, /56) may make for this domain, instead of "
        '`rates.per_network`: "100/s", "1000/m burst 50". What it asks of other domains does not count then. "off": any number',
    )
    rate_per_hostname: RateText | None = Field(
        default=None,
        description='How many requests may come for this domain, instead of `rates.per_hostname`. "off": any number',
    )

    compression: Literal["on", "off", ""] | None = Field(
        default=None, description="Whether answers are compressed, instead of `compression.enabled`"
    )
    compression_never: Paths | None = Field(
        default=None, description="Beginnings of paths that are never compressed, beside those of `compression.never`"
    )
    request_body: Annotated[int, Field(ge=0, le=REQUEST_BODY, examples=[10_000_000])] | None = Field(
        default=None,
        description="Bytes that a request's body may have, instead of `limits.request_body`; above it: 413. 0: any size",
    )

    def given(self) -> dict[str, Any]:
        """What was sent, by name."""
        return {name: getattr(self, name) for name in self.model_fields_set}
