"""`edgeproxy certs …`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from edgeproxy.cli.options import Host, Json, Limit, Socket, admin
from edgeproxy.cli.show import Progress, as_json, fields, listing_as_json, say, table, text_of, zone_lines
from edgeproxy.errors import EdgeError, Fault, InvalidName
from edgeproxy.model import RevocationReason, serial_number

CERTIFICATES = "/api/v1/infrastructure/ssl"

PEM_BYTES = 64 * 1024
"""Bytes of a chain or key that are sent; the edge takes no more."""

SERIALS = 1_000
"""Serial numbers of one request, as the edge takes them."""

SERIALS_BYTES = 64 * 1024 * 1024
"""Bytes of a file with serial numbers: 1,000,000 of them."""

SHOWN = 5
"""Serial numbers that a sentence names."""

app = typer.Typer(help="Certificates.", no_args_is_help=True)
account = typer.Typer(help="The account at the CA.", no_args_is_help=True)
app.add_typer(account, name="account")


@app.command("list")
def list_certificates(limit: Limit = None, json: Json = False, socket: Socket = None) -> None:
    """List certificates."""
    found = admin(socket).pages(CERTIFICATES, "certificates", limit)
    if json:
        listing_as_json("certificates", found)
        return
    rows = ((each["names"], _state(each), each["not_after"], each["issuer"], each["id"]) for each in found)
    table(("names", "state", "expires", "issuer", "id"), rows, empty="No certificates.")


@app.command()
def show(host: Host, json: Json = False, socket: Socket = None) -> None:
    """Show the certificate that a name is served under, and those that it had."""
    from edgeproxy.cli.client import Refused  # not for --help

    client = admin(socket)
    try:
        found = client.get(_path(host))
    except Refused as error:
        if error.status != 404 or json:
            raise
        _show_history(client.get(f"{_path(host)}/history").get("history", []))
        raise
    if json:
        as_json(found)
        return
    served = found.get("served") or {}
    certificate = found.get("certificate", found)
    beside = certificate.get("companion") or {}
    told = (
        beside and f"serial {beside['serial']}, {beside['key_type']}, until {beside['not_after']}, from {beside['directory']}"
    )
    fields({**certificate, "companion": told, "served": served.get("detail"), "renewal": found.get("queued")})
    zone_lines(found)
    if found.get("history"):
        typer.echo("")
        _show_history(found["history"])
    if found.get("chain"):
        typer.echo(f"\n{found['chain'].strip()}")


@app.command()
def issue(host: Host, json: Json = False, socket: Socket = None) -> None:
    """Obtain a certificate now."""
    _obtain(host, _path(host), {"type": "lets_encrypt"}, json=json, socket=socket)


@app.command()
def renew(
    host: Annotated[str, typer.Argument(metavar="HOST", help="A hostname, like gallery.example.com.")] = "",
    serials: Annotated[
        Path | None,
        typer.Option(
            "--serials",
            metavar="FILE",
            readable=False,
            help="Instead of a name: serial numbers in hex, one a line, of certificates that a CA is about to revoke.",
            show_default=False,
        ),
    ] = None,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Obtain a new certificate with a new key now, whatever the name has; or many, as fast as the CA's limits allow."""
    if (serials is None) == (not host):
        raise typer.BadParameter("Name a HOST, or a file with --serials FILE, one of the two.")
    if serials is None:
        _obtain(host, f"{_path(host)}/renew", None, json=json, socket=socket)
        return
    wanted, client = _serials(serials), admin(socket, timeout=300)
    renewing, unknown = list[str](), list[str]()
    for first in range(0, len(wanted), SERIALS):
        answer = client.post("/api/v1/infrastructure/ssl-renewals", {"serials": wanted[first : first + SERIALS]})
        renewing += answer["renewing"]
        unknown += answer["unknown"]
    if json:
        as_json({"renewing": renewing, "unknown": unknown})
        return
    are = "certificate is" if len(renewing) == 1 else "certificates are"
    say(f"{len(renewing)} {are} renewed now, the most visited names first; `edgeproxy status` has the queue.")
    if unknown:
        shown = ", ".join(unknown[:SHOWN]) + (", …" if len(unknown) > SHOWN else "")
        are = "serial number is" if len(unknown) == 1 else "serial numbers are"
        say(f"{len(unknown)} {are} of no certificate that the edge obtained and has in use: {shown}.")


@app.command()
def upload(
    host: Host,
    chain: Annotated[
        Path,
        typer.Option("--chain", metavar="FILE", readable=False, help="PEM: the certificate and its intermediates."),
    ],
    key: Annotated[Path, typer.Option("--key", metavar="FILE", readable=False, help="PEM: its private key, not encrypted.")],
    auto_renew: Annotated[bool, typer.Option(help="Whether the edge obtains one of its own when this one ends.")] = True,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Serve a name under a certificate of your own."""
    body = {"type": "custom", "auto_renew": auto_renew, "cert_data": _pem(chain), "key_data": _pem(key)}
    answer = admin(socket).post(_path(host), body)
    if json:
        as_json(answer)
        return
    certificate = answer["certificate"]
    say(f"{host} is served under the certificate from {certificate['issuer']}, until {certificate['not_after']}.")
    for note in answer.get("notes", []):
        say(f"Of the upload: {text_of(note)}.")
    say("Then the edge obtains one of its own." if auto_renew else "Upload another before that: none takes its place.")


@app.command()
def remove(
    host: Host,
    force: Annotated[bool, typer.Option("--force", help="Also where the edge cannot obtain one of its own first.")] = False,
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Go back from an uploaded certificate to the edge's own."""
    answer = admin(socket, timeout=300).delete(_path(host) + ("?force=true" if force else ""))
    if json:
        as_json(answer)
        return
    own = answer.get("certificate")
    now = f"It is served under the edge's own, until {own['not_after']}." if own else "It has no certificate now."
    say(f"The certificate that was uploaded for {host} is destroyed. {now}")


@app.command()
def revoke(
    host: Host,
    reason: Annotated[
        RevocationReason, typer.Option("--reason", help="Why, as the CA is told. A stolen key is keyCompromise.")
    ] = "unspecified",
    certificate: Annotated[
        str, typer.Option("--id", metavar="ID", help="One that is not in use any more.", show_default=False)
    ] = "",
    json: Json = False,
    socket: Socket = None,
) -> None:
    """Have the CA revoke a certificate. One with a new key takes its place."""
    client = admin(socket, timeout=300, hint=False)
    with Progress(f"The certificate of {host} is being revoked"):
        answer = client.post(f"{_path(host)}/revoke", {"reason": reason, "certificate_id": certificate})
    as_json(answer) if json else say(text_of(answer.get("detail")))


@account.command("rollover")
def roll_over(socket: Socket = None) -> None:
    """Give the account at the CA another key, and destroy the present one."""
    client = admin(socket, timeout=300, hint=False)
    with Progress("The account's key is being changed"):
        answer = client.post("/api/v1/infrastructure/ssl-account/rollover")
    say(f"The account at {text_of(answer.get('directory'))} has another key.")


def _obtain(host: str, path: str, body: dict[str, Any] | None, *, json: bool, socket: Path | None) -> None:
    """Has a certificate obtained, told step by step."""
    from edgeproxy.cli.client import refusal_of  # not for --help

    answer: dict[str, Any] = {}
    with Progress(f"A certificate for {host}") as progress:
        for step in admin(socket, timeout=300).steps(path, body or {}):
            match step.get("event"):
                case "progress":
                    progress.step(str(step.get("detail", "")))
                case "failed":
                    raise refusal_of(step.get("problem", {}))
                case "done" | None:  # None: an answer in one piece
                    answer = step
    if not answer:
        raise EdgeError(f"The edge did not say what became of the certificate for {host}. Look at its log, or try again.")
    if json:
        as_json(answer)
        return
    certificate = answer["certificate"]
    say(f"{', '.join(certificate['names'])} has a certificate from {certificate['issuer']}, until {certificate['not_after']}.")


def _state(certificate: dict[str, Any]) -> str:
    """A certificate's state, for people: one that another took the place of may be valid, but that is not what counts."""
    state = str(certificate["state"])
    return "superseded" if certificate.get("superseded_at") and state != "revoked" else state


def _show_history(history: list[dict[str, Any]]) -> None:
    heads = ("serial", "from", "since", "by", "ended", "why")
    rows = (
        (
            each["serial"],
            each["directory"],
            each["added_at"],
            each["added_by"],
            each["ended_at"],
            each["ended_why"] and each["ended_why"] + (f" ({each['ended_by']})" if each["ended_by"] != "edge" else ""),
        )
        for each in history
    )
    if history:
        table(heads, rows, empty="")


def _serials(path: Path) -> list[str]:
    """The serial numbers of a file: the first word of each line; empty ones and what begins with # are left out. Raises
    EdgeError naming the line that has none."""
    with path.open("rb") as file:
        data = file.read(SERIALS_BYTES + 1)
    if len(data) > SERIALS_BYTES:
        raise EdgeError(f"{path} has more than {SERIALS_BYTES} bytes; divide it.", fault=Fault.CLIENT)
    found: dict[str, None] = {}
    for number, line in enumerate(data.decode("utf-8-sig", "replace").splitlines(), 1):
        words = line.replace(",", " ").replace(";", " ").split()
        if not words or words[0].startswith("#"):
            continue
        try:
            found[serial_number(words[0])] = None
        except InvalidName as error:
            raise EdgeError(f"{path}, line {number}: {error.detail}", fault=Fault.CLIENT) from None
    if not found:
        raise EdgeError(f"{path} has no serial number in it.", fault=Fault.CLIENT)
    return list(found)


def _pem(path: Path) -> str:
    """A PEM file's text. Raises EdgeError for what is none, since only the file itself can tell."""
    with path.open("rb") as file:
        data = file.read(PEM_BYTES + 1)
    if len(data) > PEM_BYTES:
        raise EdgeError(f"{path} has more than {PEM_BYTES} bytes, which no certificate chain or key has.", fault=Fault.CLIENT)
    if not data.strip():
        raise EdgeError(f"{path} is empty: a PEM file with a line of -----BEGIN is needed.", fault=Fault.CLIENT)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        if b"-----BEGIN " in data:
            return data.decode("latin-1")  # words around the blocks in an old encoding
        raise EdgeError(
            f"{path} is not PEM but binary. Convert it: openssl x509 -inform der -in {path} -out chain.pem for a certificate, "
            f"openssl pkey -in {path} -out key.pem for a key, openssl pkcs12 -in {path} -nodes -out both.pem for PKCS #12.",
            fault=Fault.CLIENT,
        ) from None


def _path(host: str) -> str:
    return f"{CERTIFICATES}/{quote(host, safe='')}"
