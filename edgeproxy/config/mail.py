"""The mail server by which mail is sent."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Literal

from edgeproxy.config.section import Section
from edgeproxy.units import Duration

PORTS = {"starttls": 587, "tls": 465, "none": 25}
"""Ports by security, where none is set."""


class Mail(Section, frozen=True):
    """The server that takes mail from this edge (SMTP). `edgeproxy mail test ADDRESS` tries it."""

    server: str = ""
    """Its name or address. Empty: no mail is sent."""

    port: int = 0
    """Its port. 0: 587 with "starttls", 465 with "tls", 25 with "none"."""

    security: Literal["starttls", "tls", "none"] = "starttls"
    """"starttls": TLS is begun within the connection, or no mail is sent; "tls": TLS from the first byte; "none": in clear, for
    a server on this machine."""

    username: str = ""
    """Who signs in. Empty: nobody does."""

    password: str = ""
    """The password; better "file:PATH"."""

    sender: str = ""
    """From whom mail comes: "edge@example.com" or "Example <edge@example.com>"."""

    ca_bundle: str = ""
    """A PEM file with the roots that the server's certificate is verified against. Empty: the system's."""

    timeout: Duration = Duration(20)
    """How long the sending of one mail may take, from the connection to the server's last word."""

    def __repr__(self) -> str:
        return f"Mail(server={self.server!r}, port={self.port!r}, security={self.security!r}, sender={self.sender!r})"


def faults(mail: Mail) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Values that do not fit together: key, what is wrong and what would be right, and the other keys looked at. Pure."""
    if mail.server and not mail.sender:
        text = 'it is missing, and every mail comes from somebody; write "edge@example.com" or "Example <edge@example.com>"'
        yield "mail.sender", text, ("mail.server",)
    for have, lack in (("username", "password"), ("password", "username")):
        if getattr(mail, have) and not getattr(mail, lack):
            yield f"mail.{lack}", f"{have} is set and {lack} is not; set both, or neither", (f"mail.{have}",)
    if mail.password and mail.security == "none" and not _is_here(mail.server):
        text = 'the password would travel in clear; write "starttls" or "tls", or leave username and password out'
        yield "mail.security", text, ("mail.password", "mail.server")


def _is_here(server: str) -> bool:
    try:
        return ipaddress.ip_address(server).is_loopback
    except ValueError:
        return server == "localhost"
