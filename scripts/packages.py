"""Sees to the programs that tests need: `python scripts/packages.py`.

Missing ones are installed from Debian's packages where this user may; else it says which are missing and which tests
that skips. With CI=true in the environment a missing one is a failure.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from environment import fail, root_by, say

NEEDED = (
    # command, Debian's package, what its absence skips
    ("pebble", "pebble", "certificates from a real ACME server"),
    ("pebble-challtestsrv", "pebble", "certificates from a real ACME server"),
    ("knotd", "knot", "dynamic DNS updates at a real server"),
    ("dig", "bind9-dnsutils", "questions to our DNS zone"),
    ("unbound", "unbound", "a real resolver asking our DNS zone"),
    ("nginx", "nginx-light", "a real nginx as origin"),
    ("haproxy", "haproxy", "a real HAProxy as origin"),
    ("curl", "curl", "curl as client, and README's commands"),
    ("h2load", "nghttp2-client", "HTTP/2 under load"),
    ("nghttp", "nghttp2-client", "HTTP/2 by another client"),
    ("openssl", "openssl", "TLS by another client"),
)

POLICY = Path("/usr/sbin/policy-rc.d")
"""Where Debian asks whether a service may start: installing nginx must not start one on this machine."""


def is_there(command: str) -> bool:
    """Whether the program can be run; Debian has servers where a user's PATH does not look."""
    return shutil.which(command) is not None or Path("/usr/sbin", command).exists()


def main() -> None:
    """Sees to them; ends with status 1 where one is missing in CI."""
    missing = [entry for entry in NEEDED if not is_there(entry[0])]
    if missing:
        install(sorted({package for _, package, _ in missing}))
    missing = [entry for entry in NEEDED if not is_there(entry[0])]
    for command, package, skipped in missing:
        say(f"{command} is missing (Debian's package {package}): tests are skipped of {skipped}.")
    if missing and os.environ.get("CI") == "true":
        fail("In CI no test may be skipped for a missing program.")


def install(packages: list[str]) -> None:
    """Installs Debian packages where this user may; a failure is not fatal here."""
    become_root = root_by()
    if become_root is None or shutil.which("apt-get") is None:
        say(f"Not installed, for want of the right to: {', '.join(packages)}.")
        return
    say(f"Installing {', '.join(packages)} …")
    apt = [*become_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "--quiet=2"]
    ours = not POLICY.exists() and os.geteuid() == 0
    if ours:
        POLICY.write_text("#!/bin/sh\nexit 101\n")
        POLICY.chmod(0o755)
    try:
        command = [*apt, "install", "--yes", "--no-install-recommends", *packages]
        if subprocess.call(command, stdout=sys.stderr) != 0:
            subprocess.call([*apt, "update"], stdout=sys.stderr)
            subprocess.call(command, stdout=sys.stderr)
    finally:
        if ours:
            POLICY.unlink()


if __name__ == "__main__":
    main()
