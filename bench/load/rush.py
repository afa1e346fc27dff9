"""Many visitors at the same moment, each over a connection of its own. A process: `python -m bench.load.rush`."""

from __future__ import annotations

import ssl
import threading
import time

from bench.errors import WrongAnswer
from bench.load.arguments import Orders, run_and_report
from bench.load.base import LoadReport
from bench.load.client import check, client_context, connect, read_http1
from bench.traffic import Tenant, browser_fields, paths


def run(orders: Orders) -> LoadReport:
    """Seconds of each visitor, from the moment at which all of them begin to the end of their checked answer. A tenant that is
    named several times has several visitors."""
    context = client_context(orders.root_file, "http/1.1")
    ready = threading.Barrier(len(orders.tenants) + 1)
    seconds: list[float] = []
    failures: dict[str, int] = {}
    lock = threading.Lock()
    begun = 0.0

    def visitor(tenant: Tenant) -> None:
        ready.wait()
        try:
            _visit(orders, tenant, context)
        except (WrongAnswer, OSError) as error:
            with lock:
                told = f"{type(error).__name__}: {error}"
                failures[told] = failures.get(told, 0) + 1
        else:
            with lock:
                seconds.append(time.monotonic() - begun)

    threads = [threading.Thread(target=visitor, args=(tenant,)) for tenant in orders.tenants]
    for thread in threads:
        thread.start()
    begun = time.monotonic()
    ready.wait()
    for thread in threads:
        thread.join()
    return LoadReport(succeeded=len(seconds), failures=failures, seconds=tuple(seconds))


def _visit(orders: Orders, tenant: Tenant, context: ssl.SSLContext) -> None:
    path = paths(tenant, orders.path_root, 1)[0]
    fields = [("host", tenant.hostname), ("connection", "close"), *browser_fields(tenant, 0)]
    head = f"GET {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields) + "\r\n"
    with connect(orders.port, tenant, context, timeout=orders.seconds) as connection:
        connection.sendall(head.encode())
        check(read_http1(connection), tenant, path)


if __name__ == "__main__":
    run_and_report(run)
