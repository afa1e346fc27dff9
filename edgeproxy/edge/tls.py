"""TLS as a layer of our own: ciphertext in, plaintext out, over a plain transport. No I/O.

`ssl.MemoryBIO` + `SSLObject` cost per request what uvloop's own TLS costs and save a tenth of a handshake and a quarter
of an idle connection (`docs/decisions.md`); above all the ClientHello is simply the first bytes that came.
"""

from __future__ import annotations

import ssl

from edgeproxy.limits import RELAY_BUFFER

STEP = 16384
"""A MemoryBIO never gives memory back: what passes through it at once stays with the connection. One record at a time."""

RECORD_HEADER = 5
RECORD_MOST = STEP + 256
"""Bytes that a record may have behind its header (RFC 8446 section 5.2; TLS 1.2 is as large without compression)."""

_plaintext = memoryview(bytearray(RELAY_BUFFER + 2 * STEP))
"""Where the content of more than one record lands, of whichever connection: used up before the next read."""

MAX_OUTPUT_WITHOUT_INPUT = 64 * 1024
"""Every read can make output (KeyUpdate, alerts): 20,000 KeyUpdates left 540 KB in the outgoing BIO. Above this many bytes
of answers that carry no plaintext of ours the connection ends."""


class TlsLayer:
    """The TLS state of one connection.

    Raises ssl.SSLError from `feed` where the peer broke the protocol; send `pending()` (the alert) and close then.
    """

    __slots__ = ("_header", "_incoming", "_missing", "_object", "_outgoing", "_unasked", "established", "peer_closed")

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
        self._missing = 0
        """Bytes of the record whose beginning lies there already."""
        self._header = b""
        """What came of the header of the next one, where that has not come whole."""

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

    def feed(self, ciphertext: memoryview) -> bytes | memoryview:
        """Plaintext that became readable, possibly none; a view is good until the next call for any connection. `pending()`
        must be sent whenever it is not empty. `ciphertext`: at most RELAY_BUFFER bytes."""
        if not self.established:
            return self._shake_hands(ciphertext)
        if len(ciphertext) > STEP or self._missing or self._header:
            return self._read_records(ciphertext)
        incoming = self._incoming
        incoming.write(ciphertext)
        if self.peer_closed:
            incoming.read()
            return b""
        read = self._object.read
        pieces: list[bytes] = []
        try:
            # One record a call: on until nothing is left. Asking once more in vain would cost an exception, 1 µs a request.
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
        except ssl.SSLWantReadError:  # part of a record, or one without content
            self._note_part(ciphertext)
        except ssl.SSLZeroReturnError:  # close_notify, where ours was sent already
            self.peer_closed = True
        return b"".join(pieces)

    def _shake_hands(self, ciphertext: memoryview) -> bytes | memoryview:
        incoming = self._incoming
        for start in range(0, len(ciphertext) or 1, STEP):  # who speaks first has nothing to feed
            incoming.write(ciphertext[start : start + STEP])
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                continue
            self.established = True
            behind = incoming.read() + ciphertext[start + STEP :]
            return self.feed(memoryview(behind)) if behind else b""
        return b""

    def _note_part(self, ciphertext: memoryview) -> None:
        """Notes how much is missing of the record that these bytes end within, if they do. They began with a record."""
        at, size = 0, len(ciphertext)
        while size - at >= RECORD_HEADER:
            at += RECORD_HEADER + (ciphertext[at + 3] << 8 | ciphertext[at + 4])
            if at > size:
                self._missing = at - size
                return
        self._header = bytes(ciphertext[at:])

    def _read_records(self, ciphertext: memoryview) -> memoryview:
        """As `feed`, for more than OpenSSL is to hold at once, and for what begins within a record.

        It is given one whole record after the other, so that no call is made in vain: a body came by as many exceptions as it
        had records.
        """
        if len(ciphertext) > RELAY_BUFFER + STEP:
            raise ValueError("more than is read at once")
        write, read = self._incoming.write, self._object.read
        at, size, came = 0, len(ciphertext), 0
        while at < size and not self.peer_closed:
            if self._missing:
                end = at + self._missing
            else:
                header = self._header + ciphertext[at : at + RECORD_HEADER - len(self._header)]
                if len(header) < RECORD_HEADER:
                    write(ciphertext[at:])
                    self._header = header
                    break
                end = at + RECORD_HEADER - len(self._header) + (header[3] << 8 | header[4])
                self._header = b""
            if end > size:
                write(ciphertext[at:])
                self._missing = end - size
                if self._missing <= RECORD_MOST:
                    break
                end = size  # more than a record has: OpenSSL says so
            else:
                write(ciphertext[at:end])
                self._missing = 0
            at = end
            try:
                got: int = read(STEP, _plaintext[came:])
            except ssl.SSLWantReadError:  # a record without content
                continue
            except ssl.SSLZeroReturnError:
                got = 0
            self.peer_closed = not got
            came += got
        return _plaintext[:came]

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
