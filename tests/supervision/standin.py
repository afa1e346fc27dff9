"""The supervisor with stand-in children: python -m tests.supervision.standin CONFIG.

A worker answers lines on its TCP sockets, the controller on the admin socket; both in JSON. What they should do wrong is
said by the configuration: `origin.header` names the fault.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from edgeproxy import supervisor
from edgeproxy.config.load import load
from edgeproxy.config.structs import Config
from edgeproxy.errors import EdgeError, StateError
from edgeproxy.link.channel import Channel
from edgeproxy.link.messages import Alive, Drain, Greeting, LinkEnd, LinkMessage, Ready, Refresh, Request, Result
from edgeproxy.link.peer import Link
from edgeproxy.link.start import ChildStart, WorkerStart
from edgeproxy.link.table import Table
from edgeproxy.supervision import backoff, loop, reloading, signs
from edgeproxy.supervision.children import Programs


def about(start: ChildStart) -> dict[str, Any]:
    """What a child sees of itself."""
    return {
        "pid": os.getpid(),
        "uid": os.getuid(),
        "gid": os.getgid(),
        "groups": os.getgroups(),
        "umask": os.umask(os.umask(0o77)),
        "header": start.config.origin.header,
        "serving": start.serving,
        "sockets": sorted(start.sockets),
        "descriptors": {entry.name: str(entry.readlink()) for entry in Path("/proc/self/fd").iterdir() if entry.exists()},
        "status": Path("/proc/self/status").read_text(),
        "limits": Path("/proc/self/limits").read_text(),
    }


class Worker:
    def __init__(self, start: WorkerStart) -> None:
        self.start = start
        self.channel = Channel(start.channel)
        self.table = Table(start.table)
        self.column = self.table.column(start.column)
        self.link: Link | None = None
        self.links = 0
        self.heard: list[str] = []
        self.visitors: set[asyncio.Task[None]] = set()

    async def run(self) -> int:
        fault = self.start.config.origin.header
        slow = fault == "x-slow-worker" or (fault == "x-slow-second-worker" and self.start.index == 1)
        if slow or fault == "x-late-worker":
            await asyncio.sleep(3600 if slow else 1)
        running = asyncio.get_running_loop()
        for sock in self.start.sockets.values():
            sock.setblocking(False)
            running.add_reader(sock, self.accept, sock)
        ended = asyncio.Event()
        running.add_signal_handler(signal.SIGTERM, ended.set)
        hearing = asyncio.create_task(self.hear(ended))
        beating = asyncio.create_task(self.beat())
        self.channel.send(Ready())
        await ended.wait()
        for sock in self.start.sockets.values():
            running.remove_reader(sock)
            sock.close()
        self.column.drain()
        while fault == "x-never-drains" or self.visitors:
            await asyncio.sleep(0.01)
        beating.cancel()
        hearing.cancel()
        return 0

    def accept(self, sock: socket.socket) -> None:
        """Not by asyncio's server: one that is closed forgets whom it accepted in the same turn, and never tells them."""
        try:
            visitor, _ = sock.accept()
        except BlockingIOError:  # another worker was faster
            return
        task = asyncio.create_task(self.receive(visitor))
        self.visitors.add(task)
        task.add_done_callback(self.visitors.discard)

    async def receive(self, visitor: socket.socket) -> None:
        await self.talk(*await asyncio.open_connection(sock=visitor))

    async def hear(self, ended: asyncio.Event) -> None:
        async for received in self.channel:
            if isinstance(received.message, LinkEnd):
                self.links += 1
                if self.link is not None:
                    self.link.close()
                self.link = await Link.open(received.sockets[0], self.said, self.lost)
                self.link.send(Greeting(worker=self.start.index, pid=os.getpid()))
            elif isinstance(received.message, Drain):
                ended.set()
        ended.set()

    def said(self, message: LinkMessage) -> None:
        if isinstance(message, Refresh):
            self.heard.append(message.hostname)

    def lost(self, _reason: EdgeError | None) -> None:
        self.channel.send(Request(id=0, action="link"))

    async def beat(self) -> None:
        """Of the first worker; the sign of the others lies in the future, so that no slow machine makes them seem hung."""
        while True:
            self.column.beat(time.monotonic() + (3600 if self.start.index else 0))
            await asyncio.sleep(0.2)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        slot = self.table.slot(b"\x7f\0\0\1")
        count = self.column.enter(slot)
        try:
            while line := (await reader.readline()).decode().strip():
                answer: dict[str, Any] = {"pid": os.getpid(), "index": self.start.index, "generation": self.start.generation}
                if line == "about":
                    answer.update(about(self.start), key=self.start.map_key.hex(), column=self.start.column)
                elif line == "links":
                    answer.update(links=self.links, alive=self.link is not None and self.link.alive, heard=self.heard)
                elif line == "unlink" and self.link is not None:
                    self.link._lose(None)
                elif line == "count":
                    answer.update(count=count, mean=self.table.mean_connections())
                elif line == "hang":
                    time.sleep(3600)  # noqa: TID251 - the loop shall hang
                elif line == "crash":
                    os._exit(3)
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        finally:
            self.column.leave(slot)
            writer.close()


def worker_main(start: WorkerStart) -> int:
    fault = start.config.origin.header
    if fault == "x-worker-exits":
        return 5
    if fault == "x-worker-refuses":
        raise StateError("the stand-in worker refuses")
    return asyncio.run(Worker(start).run())


class Controller:
    def __init__(self, start: ChildStart) -> None:
        self.start = start
        self.channel = Channel(start.channel)
        self.answers: dict[int, asyncio.Future[Result]] = {}
        self.greetings: list[tuple[int, int]] = []
        self.links: dict[int, Link] = {}
        self.ended = asyncio.Event()

    async def run(self) -> int:
        server = await asyncio.start_unix_server(self.talk, sock=self.start.sockets["admin"])
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.ended.set)
        hearing = asyncio.create_task(self.hear())
        living = asyncio.create_task(self.live())
        self.channel.send(Ready())
        await self.ended.wait()
        server.close()
        hearing.cancel()
        living.cancel()
        return 0

    async def hear(self) -> None:
        async for received in self.channel:
            if isinstance(received.message, LinkEnd):
                await self.linked(received.message.worker, received.sockets[0])
            elif isinstance(received.message, Result):
                self.answers.pop(received.message.id).set_result(received.message)
            elif isinstance(received.message, Drain):
                self.ended.set()
        os._exit(0)

    async def live(self) -> None:
        while True:
            self.channel.send(Alive())
            await asyncio.sleep(0.2)

    async def linked(self, worker: int, sock: socket.socket) -> None:
        def said(message: LinkMessage) -> None:
            if isinstance(message, Greeting):
                self.greetings.append((message.worker, message.pid))
                self.links[message.pid] = link
                link.send(Refresh(hostname=f"controller-{os.getpid()}"))

        link = await Link.open(sock, said, lambda _: None)

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := (await reader.readline()).decode().strip():
            answer: dict[str, Any] = {"pid": os.getpid()}
            if line == "about":
                answer.update(about(self.start))
            elif line == "greetings":
                answer["greetings"] = self.greetings
            elif line == "crash":
                os._exit(3)
            else:
                number = len(self.answers) + 1
                self.answers[number] = asyncio.get_running_loop().create_future()
                future = self.answers[number]
                self.channel.send(Request(id=number, action=line))
                result = await future
                answer.update(ok=result.ok, detail=result.detail, data=result.data)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        writer.close()


def controller_main(start: ChildStart) -> int:
    fault = start.config.origin.header
    if fault == "x-store-broken":
        raise StateError("the stand-in store is broken")
    if fault == "x-controller-exits":
        return 4
    if fault == "x-slow-controller":
        time.sleep(3600)  # noqa: TID251 - as one that is still importing: it hears nothing
    if fault == "x-controller-raises":
        raise RuntimeError("nobody expected this")
    return asyncio.run(Controller(start).run())


def map_key(config: Config, directory: Path) -> bytes:
    if config.origin.header == "x-no-key":
        raise StateError("the stand-in has no key")
    (directory / "key-made-by").write_text(str(os.getuid()))
    return b"k" * 32


def main() -> int:
    path = Path(sys.argv[1])
    for module, name in (
        (signs, "HUNG"),
        (signs, "CONTROLLER_HUNG"),
        (backoff, "LIVED"),
        (loop, "READY_WITHIN"),
        (loop, "CONTROLLER_DRAIN"),
        (loop, "DRAIN_GRACE"),
        (reloading, "GENERATIONS"),
    ):
        if number := os.environ.get(f"STANDIN_{name}"):
            setattr(module, name, float(number))
    try:
        return supervisor.run(load(path, os.environ), path, programs=Programs(worker_main, lambda: controller_main, map_key))
    except EdgeError as error:
        sys.stderr.write(json.dumps({"message": "refused", "detail": error.detail, "code": error.code}) + "\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())
