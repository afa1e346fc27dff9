"""TLS as a layer of our own: ciphertext in, plaintext out, over a plain transport. No I/O.

`ssl.MemoryBIO` + `SSLObject` cost per request what uvloop's own TLS costs and save a tenth of a handshake and a quarter
of an idle connection (`docs/decisions.md`); above all the ClientHello is simply the first bytes that came.
"""

from __future__ import annotations

import ssl

STEP = 16384
"""A MemoryBIO never gives memory back: what passes through it at once stays with the connection. One record at a time."""

MAX_OUTPUT_WITHOUT_INPUT = 64 * 1024
"""Every read can make output (KeyUpdate, alerts): 20,000 KeyUpdates left 540 KB in the outgoing BIO. Above this many bytes
of answers that carry no plaintext of ours the connection ends."""


class TlsLayer:
    """The TLS state of one connection.

    Raises ssl.SSLError from `feed` where the peer broke the protocol; send `pending()` (the alert) and close then.
    """

    __slots__ = ("_incoming", "_object", "_outgoing", "_unasked", "established", "peer_closed")

    def __init__(self, context: ssl.SSLContext, *, server_side: bool = True, server_hostname: str | None = None) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        # What ssl.SSLObject wraps, without it: its methods do nothing but call these, a dozen times a connection.
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )._sslobj  # type: ignore[attr-defined]
        self.established = False
        self.peer_closed = False
        """The peer sent close_notify: it says no more, but may still read (RFC 8446 section 6.1)."""
        self._unasked = 0

    @property
    def alpn(self) -> str | None:
        """The application protocol that was agreed on."""
        protocol: str | None = self._object.selected_alpn_protocol()
        return protocol

    @property
    def version(self) -> str:
        """ "TLSv1.3" or "TLSv1.2"."""
        return self._object.version() or ""

    @property
    def certificate(self) -> bytes:
        """The peer's, DER; empty where it showed none."""
        return self._object.getpeercert(True) or b""

    @property
    def resumed(self) -> bool:
        """Whether the handshake resumed a session."""
        return bool(self._object.session_reused)

    def feed(self, ciphertext: memoryview) -> bytes:
        """Plaintext that became readable, possibly none. `pending()` must be sent whenever it is not empty."""
        size = len(ciphertext)
        if size <= STEP:
            self._incoming.write(ciphertext)
            return self._read()
        plain = []
        for start in range(0, size, STEP):
            self._incoming.write(ciphertext[start : start + STEP])
            plain.append(self._read())
        return b"".join(plain)

    def _read(self) -> bytes:
        incoming = self._incoming
        if not self.established:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                return b""
            self.established = True
            if not incoming.pending:  # asking for plaintext in vain would cost an exception
                return b""
        if self.peer_closed:
            incoming.read()
            return b""
        read = self._object.read
        pieces: list[bytes] = []
        try:
            # One record a call: on until nothing is left, or plaintext stays behind. Asking once more in vain would cost an
            # exception, 1 µs a request.
            while True:
                plain: bytes = read(STEP)
                if not plain:
                    self.peer_closed = True
                    break
                if not incoming.pending:
                    if not pieces:
                        return plain
                    pieces.append(plain)
                    break
                pieces.append(plain)
        except ssl.SSLWantReadError:
            pass  # part of a record, or one without content
        except ssl.SSLZeroReturnError:  # close_notify, where ours was sent already
            self.peer_closed = True
        return b"".join(pieces)

    def put(self, ciphertext: memoryview) -> None:
        """At most STEP bytes for `read_into`: the other way to read, once the handshake is over."""
        self._incoming.write(ciphertext)

    def read_into(self, room: memoryview) -> int:
        """Bytes of plaintext that were written there; 0: more ciphertext is needed, or the peer has closed."""
        if self.peer_closed or not (self._incoming.pending or self._object.pending()):
            return 0
        try:
            size: int = self._object.read(len(room), room)
        except ssl.SSLWantReadError:
            return 0  # part of a record, or one without content
        self.peer_closed = not size
        return size

    @property
    def output(self) -> int:
        """Bytes of ciphertext that are to be sent."""
        size: int = self._outgoing.pending
        return size

    def pending(self) -> bytes:
        """Ciphertext that is to be sent. Raises ssl.SSLError when the peer makes us answer without end."""
        if not self._outgoing.pending:
            return b""
        output = self._outgoing.read()
        if self.established:
            self._unasked += len(output)
            if self._unasked > MAX_OUTPUT_WITHOUT_INPUT:
                raise ssl.SSLError("too many messages that want an answer")
        return output

    def last_words(self) -> bytes:
        """The alert that says why the handshake or the connection failed, if any."""
        return self._outgoing.read()

    def seal(self, plaintext: bytes | memoryview) -> bytes:
        """Ciphertext for at most STEP bytes of plaintext, with whatever else was pending."""
        self._object.write(plaintext)
        return self._outgoing.read()

    def seal_last(self, plaintext: bytes) -> bytes:
        """As `seal`, with our close_notify behind it."""
        self._object.write(plaintext)
        return self.close()

    def seal_all(self, plaintext: bytes | memoryview) -> list[bytes]:
        """Ciphertext for any amount, in pieces for `transport.writelines`."""
        view = memoryview(plaintext)
        write, read = self._object.write, self._outgoing.read
        sealed = []
        for start in range(0, len(view), STEP):
            write(view[start : start + STEP])
            sealed.append(read())
        return sealed

    def close(self) -> bytes:
        """Our close_notify, once everything was sent."""
        try:  # noqa: SIM105  # every connection ends here: suppress would be four calls more
            self._object.shutdown()
        except ssl.SSLError:  # the peer's own close_notify has not come (SSLWantReadError), or it sent on after it
            pass
        return self._outgoing.read()
