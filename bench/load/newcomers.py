"""The first visit to each of its tenants, timed. A process: `python -m bench.load.newcomers`."""

from __future__ import annotations

import time

from bench.load.arguments import Orders, run_and_report
from bench.load.base import LoadReport
from bench.load.client import check, client_context, connect, read_http1
from bench.traffic import browser_fields, paths


def run(orders: Orders) -> LoadReport:
    """Seconds of each tenant from the connection to the end of the checked answer, with a pause of 1 / rate between them."""
    context = client_context(orders.root_file, "http/1.1")
    seconds = []
    for tenant in orders.tenants:
        path = paths(tenant, orders.path_root, 1)[0]
        fields = [("host", tenant.hostname), ("connection", "close"), *browser_fields(tenant, 0)]
        head = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
        begun = time.monotonic()
        with connect(orders.port, tenant, context) as connection:
            connection.sendall(head.encode())
            check(read_http1(connection), tenant, path)
        seconds.append(time.monotonic() - begun)
        time.sleep(1 / orders.rate if orders.rate else 0)  # noqa: TID251 - a process with nothing else to do
    return LoadReport(succeeded=len(seconds), failures={}, seconds=tuple(seconds))


if __name__ == "__main__":
    run_and_report(run)
