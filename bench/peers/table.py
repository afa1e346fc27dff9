"""The proxies of the comparison, in the order of the table's columns."""

from __future__ import annotations

from bench.peers import caddy, edgeproxy, haproxy, nginx
from bench.peers.base import Starter

PEERS: dict[str, Starter] = {
    "nginx": nginx.start,
    "haproxy": haproxy.start,
    "caddy": caddy.start,
    "edgeproxy": edgeproxy.start,
}
"""Name on the command line → how to start it."""
