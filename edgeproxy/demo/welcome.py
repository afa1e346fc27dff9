"""Waits until the demo's edge serves, adds its domains, and says what to try.

`python -m edgeproxy.demo.welcome DIR SOCKET PORT`; ends when that is done or when its standard input ends.
"""

from __future__ import annotations

import select
import shlex
import shutil
import sys
import time
from pathlib import Path

from edgeproxy.cli.client import AdminClient, Refused
from edgeproxy.demo.run import DOMAINS, PLATFORM
from edgeproxy.errors import AdminUnavailable, EdgeError

SECONDS = 60.0
"""How long the edge may take to serve."""

_STEP = 0.05


def main(home: Path, socket: Path, port: int) -> int:
    """Does it; gives the exit status."""
    client = AdminClient(socket, timeout=10.0)
    try:
        if not _ready(client):
            return 1
        for domain, workspace in DOMAINS.items():
            _add(client, domain, workspace)
        root = home / "internal-ca.pem"
        if not root.exists():
            client.post(f"/api/v1/infrastructure/ssl/{next(iter(DOMAINS))}", {"type": "lets_encrypt"})
    except EdgeError as error:
        sys.stderr.write(f"The demo's domains could not be added: {error.detail}\n")
        return 1
    sys.stdout.write(text(_shown(root), _shown(socket), port, command=_command()))
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


def _shown(path: Path) -> Path:
    """The path as it is shortest for who started the demo here."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _command() -> str:
    """How `edgeproxy` is called here: by its name where the shell finds it, else the one beside this Python."""
    if shutil.which("edgeproxy"):
        return "edgeproxy"
    beside = Path(sys.executable).with_name("edgeproxy")
    return shlex.quote(str(_shown(beside))) if beside.exists() else f"{shlex.quote(sys.executable)} -m edgeproxy"


def text(root: Path, socket: Path, port: int, *, command: str) -> str:
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

A browser will warn, for it does not know this demo's own CA. To have it trust that (the key never leaves this folder):

  Chromium, Chrome   certutil -d sql:$HOME/.pki/nssdb -A -t C,, -n edgeproxy-demo -i {trusted}
  Firefox            Settings, Certificates, View Certificates, Authorities, Import
  the system         sudo cp {trusted} /usr/local/share/ca-certificates/edgeproxy-demo.crt && sudo update-ca-certificates

The edge's own view, in another terminal:

  {command} status --socket {shlex.quote(str(socket))}

Ctrl-C ends it.

"""


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
