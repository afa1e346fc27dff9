"""Waits until the demo's edge serves, adds its domains, makes a token, and says what to try.

`python -m edgeproxy.demo.welcome DIR SOCKET PORT`; ends when that is done or when its standard input ends.
"""

from __future__ import annotations

import dataclasses
import json
import select
import shlex
import shutil
import sys
import time
from pathlib import Path

from edgeproxy.cli.client import AdminClient, Refused
from edgeproxy.demo.names import PENDING
from edgeproxy.demo.run import API, DOMAINS, PLATFORM
from edgeproxy.errors import AdminUnavailable, EdgeError

SECONDS = 60.0
"""How long the edge may take to serve."""

TOKEN_SECONDS = 86_400
"""How long the token is good for: each start makes another one."""

CUSTOMER = "customer.localhost"
"""A domain that somebody brings; `PENDING` is another one's, who never sets the record."""

LABELS = 100
"""Names that are tried for one that no earlier start of the demo had."""

_STEP = 0.05


def main(home: Path, socket: Path, port: int) -> int:
    """Does it; gives the exit status."""
    client = AdminClient(socket, timeout=10.0, hint=False)
    try:
        if not _ready(client):
            return 1
        for domain, workspace in DOMAINS.items():
            _add(client, domain, workspace)
        label = _free_label(client)
        made = client.post("/api/v1/tokens", {"scope": "platform", "label": "demo", "expires_in": TOKEN_SECONDS})
        root = home / "internal-ca.pem"
        if not root.exists():
            client.post(f"/api/v1/infrastructure/ssl/{next(iter(DOMAINS))}", {"type": "lets_encrypt"})
    except EdgeError as error:
        sys.stderr.write(f"The demo could not be prepared: {error.detail}\n")
        return 1
    customer = Customer(made["token"], label, next(iter(DOMAINS.values())))
    sys.stdout.write(text(_shown(root), _shown(socket), port, customer, command=_command()))
    sys.stdout.flush()
    return 0


def _ready(client: AdminClient) -> bool:
    """Waits until workers serve; False when whoever started us is gone, or when it takes too long."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            client.get("/readyz")
        except (AdminUnavailable, Refused):
            if select.select([sys.stdin], [], [], _STEP)[0]:
                return False
        else:
            return True
    sys.stderr.write(f"The edge does not serve after {SECONDS:.0f} s; its log above says why.\n")
    return False


def _add(client: AdminClient, domain: str, workspace: str) -> None:
    try:
        client.post("/api/v1/infrastructure/domains", {"domain": domain, "workspace_id": workspace})
    except Refused as refused:
        if refused.code != "conflict":  # it is there from the time before
            raise


def _free_label(client: AdminClient) -> str:
    """The first of shop, shop2, … of which nothing has happened yet: who had a name before would have to prove it anew."""
    labels = ["shop", *(f"shop{number}" for number in range(2, LABELS))]
    return next((each for each in labels if not any(_known(client, f"{each}.{of}") for of in (CUSTOMER, PENDING))), labels[-1])


def _known(client: AdminClient, domain: str) -> bool:
    return bool(client.get("/api/v1/infrastructure/events", domain=domain, last=1)["events"])


def _shown(path: Path) -> Path:
    """The path as it is shortest for who started the demo here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _command() -> str:
    """How `edgeproxy` is called here: by its name where the shell finds it, else the one beside this Python."""
    if shutil.which("edgeproxy"):
        return "edgeproxy"
    beside = Path(sys.executable).with_name("edgeproxy")
    return shlex.quote(str(_shown(beside))) if beside.exists() else f"{shlex.quote(sys.executable)} -m edgeproxy"


@dataclasses.dataclass(frozen=True, slots=True)
class Customer:
    """Who brings a domain in what is to be tried."""

    token: str
    label: str
    workspace: str


def text(root: Path, socket: Path, port: int, customer: Customer, *, command: str) -> str:
    """What to try, and how to trust the demo's root. `command` is as a shell takes it, paths become so here."""
    trusted = shlex.quote(str(root))
    suffix = "" if port == 443 else f":{port}"
    urls = [(f"https://{domain}{suffix}/", workspace) for domain, workspace in DOMAINS.items()]
    urls.append((f"https://any-workspace.{PLATFORM}{suffix}/", "any-workspace"))
    width = max(len(url) for url, _ in urls)
    lines = "\n".join(f"  {url.ljust(width)}  workspace {workspace}" for url, workspace in urls)
    return f"""
Edgeproxy's demo serves:

{lines}

Try it:

  curl --cacert {trusted} {urls[0][0]}

{_story(trusted, shlex.quote(str(socket)), suffix, customer, command)}
A browser will warn, for it does not know this demo's own CA. To have it trust that (the key never leaves this folder):

  Chromium, Chrome   certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n edgeproxy-demo -i {trusted}
  Firefox            Settings, Certificates, View Certificates, Authorities, Import
  the system         sudo cp {trusted} /usr/local/share/ca-certificates/edgeproxy-demo.crt && sudo update-ca-certificates

The edge's own view, in another terminal:

  {command} status --socket {shlex.quote(str(socket))}

Ctrl-C ends it.

"""


def _story(trusted: str, socket: str, suffix: str, customer: Customer, command: str) -> str:
    """A customer's domain, from its registration to live, in lines to copy one after the other."""
    api = f"https://{API}{suffix}/api/domains"
    curl, readable = f'curl -sS --cacert {trusted} -H "Authorization: Bearer $TOKEN"', "| python3 -m json.tool"

    def asked(domain: str) -> str:
        body = json.dumps({"subdomain": customer.label, "domain": domain, "workspaceId": customer.workspace})
        register = f"  {curl} \\\n    {api}/register \\\n    --json '{body}' {readable}"
        return f"{register}\n  {curl} \\\n    {api}/verify/{customer.label}.{domain} {readable}"

    return f"""\
A customer's own domain, in another terminal, with a token that is good for a day:

  TOKEN={customer.token}

Register it. Here every name under .localhost has the record that it needs, so that it is live a moment later:

{asked(CUSTOMER)}
  curl --cacert {trusted} https://{customer.label}.{CUSTOMER}{suffix}/

Names under .{PENDING} never have it; the answer says which record is missing:

{asked(PENDING)}

What a platform is told meanwhile, by webhooks or so:

  {command} events tail --no-follow --socket {socket}
"""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
