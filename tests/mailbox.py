"""A mail server for tests, of RFC 5321 as much as clients need: in clear, with STARTTLS or TLS, with or without signing in."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import email
import email.policy
import functools
import queue
import socket
import ssl
import threading
from collections.abc import Callable
from email.message import EmailMessage
from typing import Self

from tests.ports import free_port


@dataclasses.dataclass
class Received:
    """A mail as it came."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    encrypted: bool
    user: str


class Mailbox:
    """Runs in threads of its own, so that it serves tests of whole programs too.

    `context` makes it offer STARTTLS, or with `tls` speak TLS from the first byte. With `users` it wants one of them.
    `refuse(recipient)` says why an address is refused, "550 no such user"; empty: it is not. `slow` seconds are waited before
    each answer.
    """

    def __init__(
        self,
        *,
        context: ssl.SSLContext | None = None,
        tls: bool = False,
        users: dict[str, str] | None = None,
        refuse: Callable[[str], str] = lambda _: "",
        greeting: str = "220 mailbox ready",
        slow: float = 0.0,
    ) -> None:
        self.port = free_port()
        self.received: queue.Queue[Received] = queue.Queue()
        self.connections = 0
        self._context, self._tls, self._users = context, tls, users or {}
        self._refuse, self._greeting, self._slow = refuse, greeting, slow
        self._ended = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(20)

    def next(self, seconds: float = 60.0) -> Received:
        """The next mail, once it is there."""
        return self.received.get(timeout=seconds)

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            self._start(functools.partial(self._serve, connection))

    def _serve(self, connection: socket.socket) -> None:
        sessions: list[_Session] = []
        try:
            if self._tls:
                connection = self._wrapped(connection)
            sessions.append(session := _Session(connection, encrypted=self._tls))
            self._answer(session, self._greeting)
            while (line := session.line()) and self._step(session, line):
                if session.starts_tls:
                    connection = self._wrapped(connection)
                    sessions.append(session := _Session(connection, encrypted=True))
        except OSError:
            pass
        finally:
            for each in sessions:
                with contextlib.suppress(OSError):
                    each.reader.close()
            connection.close()

    def _wrapped(self, connection: socket.socket) -> ssl.SSLSocket:
        assert self._context is not None
        try:
            wrapped = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            connection.close()
            raise
        self._open.add(wrapped)
        return wrapped

    def _answer(self, session: _Session, *lines: str) -> None:
        if self._slow and self._ended.wait(self._slow):
            raise OSError
        session.say(*lines)

    def _step(self, session: _Session, line: str) -> bool:
        """One command; whether the session goes on."""
        verb, _, rest = line.partition(" ")
        match verb.upper():
            case "EHLO":
                offers = ["250-mailbox"]
                if self._context and not session.encrypted:
                    offers.append("250-STARTTLS")
                if self._users:
                    offers.append("250-AUTH PLAIN LOGIN")
                self._answer(session, *offers, "250 8BITMIME")
            case "STARTTLS" if self._context and not session.encrypted:
                self._answer(session, "220 go on")
                session.starts_tls = True
            case "AUTH":
                self._sign_in(session, rest)
            case "MAIL" if self._users and not session.user:
                self._answer(session, "530 sign in first")
            case "MAIL":
                session.sender, session.recipients = _address(rest), []
                self._answer(session, "250 yes")
            case "RCPT":
                refusal = self._refuse(_address(rest))
                if not refusal:
                    session.recipients.append(_address(rest))
                self._answer(session, refusal or "250 yes")
            case "DATA" if session.recipients:
                self._answer(session, "354 go on")
                self._take(session)
            case "QUIT":
                self._answer(session, "221 bye")
                return False
            case "RSET" | "NOOP":
                self._answer(session, "250 yes")
            case _:
                self._answer(session, "502 no such command")
        return True

    def _sign_in(self, session: _Session, rest: str) -> None:
        mechanism, _, first = rest.partition(" ")
        if mechanism.upper() == "LOGIN":
            if not first:
                session.say("334 " + base64.b64encode(b"Username:").decode())
                first = session.line()
            session.say("334 " + base64.b64encode(b"Password:").decode())
            user, password = (base64.b64decode(text).decode() for text in (first, session.line()))
        else:
            _, user, password = base64.b64decode(first).decode().split("\0")
        if self._users.get(user) != password:
            self._answer(session, "535 5.7.8 wrong user name or password")
            return
        session.user = user
        self._answer(session, "235 come in")

    def _take(self, session: _Session) -> None:
        data = bytearray()
        while (line := session.reader.readline()) not in (b".\r\n", b""):
            data += line[1:] if line.startswith(b".") else line
        message = email.message_from_bytes(bytes(data), policy=email.policy.SMTP)
        assert isinstance(message, EmailMessage)
        self.received.put(Received(session.sender, session.recipients, message, session.encrypted, session.user))
        self._answer(session, "250 taken")


class _Session:
    """What one client said so far."""

    def __init__(self, connection: socket.socket, *, encrypted: bool) -> None:
        self.reader = connection.makefile("rb")
        self.encrypted = encrypted
        self.starts_tls = False
        self.user = ""
        self.sender = ""
        self.recipients: list[str] = []
        self._connection = connection

    def line(self) -> str:
        return self.reader.readline(10_000).decode("utf-8", "replace").rstrip("\r\n")

    def say(self, *lines: str) -> None:
        self._connection.sendall("".join(f"{line}\r\n" for line in lines).encode())


def _address(text: str) -> str:
    return text.partition("<")[2].partition(">")[0]
