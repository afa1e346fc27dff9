"""Edgeproxy beside nginx, HAProxy and Caddy: CPU per request, every answer checked. `python -m bench --help`."""
