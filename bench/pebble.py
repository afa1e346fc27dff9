"""Let's Encrypt's test CA with its DNS, where every name is at 127.0.0.1."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import ssl
from pathlib import Path

from bench.children import Child, free_ports
from bench.errors import BenchError
from bench.stage import Stage


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pebble:
    """The running CA."""

    directory: str
    api_root_file: Path
    """What its own HTTPS certificate verifies against."""
    issued_root_file: Path
    """What the certificates that it issues verify against."""
    child: Child


async def start_pebble(stage: Stage, name: str, http_port: int, tls_port: int) -> Pebble:
    """Starts a CA that validates at these two ports, without artificial delays and refused nonces."""
    folder = stage.folder(f"pebble-{name}")
    certificate, key = stage.authority.leaf("127.0.0.1")
    api, management, dns, dns_management = free_ports(4)
    config = folder / "pebble.json"
    config.write_text(
        json.dumps(
            {
                "pebble": {
                    "listenAddress": f"127.0.0.1:{api}",
                    "managementListenAddress": f"127.0.0.1:{management}",
                    "certificate": str(certificate),
                    "privateKey": str(key),
                    "httpPort": http_port,
                    "tlsPort": tls_port,
                }
            }
        )
    )
    names = await stage.start_other(
        f"pebble-dns-{name}",
        [
            *("pebble-challtestsrv", "-defaultIPv6", "", "-http01", "", "-https01", "", "-tlsalpn01", ""),
            *("-dns01", f"127.0.0.1:{dns}", "-management", f"127.0.0.1:{dns_management}"),
        ],
    )
    child = await stage.start_other(
        f"pebble-{name}",
        ["pebble", "-config", str(config), "-dnsserver", f"127.0.0.1:{dns}"],
        {"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0", "PEBBLE_AUTHZREUSE": "0"},
    )
    await names.wait_listening(dns_management)
    await child.wait_listening(api)
    await child.wait_listening(management)
    issued = folder / "root.pem"
    issued.write_bytes(await _fetch(management, "/roots/0", stage.authority.root_file))
    return Pebble(
        directory=f"https://127.0.0.1:{api}/dir", api_root_file=stage.authority.root_file, issued_root_file=issued, child=child
    )


async def _fetch(port: int, path: str, root_file: Path) -> bytes:
    """A body from pebble's management API."""
    context = ssl.create_default_context(cafile=str(root_file))
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
    if not head.split(b"\r\n")[0].endswith(b" 200 OK"):
        raise BenchError(f"pebble does not give its root certificate: {head[:200]!r}")
    return body
