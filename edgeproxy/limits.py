"""Every bound on what a stranger can make grow: its unit, its default, and the reason.

The fields of `Limits` are the keys of `[limits]` in the configuration; a field's docstring is its manual.
Constants below the struct are bounds that no operator has a reason to change.
"""

from __future__ import annotations

import msgspec

from edgeproxy.units import Size


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds that an operator may change. Reaching one has a defined, tested answer."""

    connections: int = 20_000
    """Open client connections per worker, and never more than three quarters of the files that it may open (LimitNOFILE=).
    Above it the oldest of those that have said nothing for a second makes room, else the oldest idle one; where there is none
    the new connection is closed at once."""

    connections_per_address: int = 512
    """Open client connections per client address, over all workers of the machine (approximate by one report). Above it: closed
    at once."""

    connections_per_network: int = 4_096
    """The same per client network (/24, /56), never fewer than one address may have; clients in `listen.trusted_proxies` do not
    count. Of IPv6 an address is a /64 here, which one customer has whole."""

    waiting_handshakes: int = 512
    """Handshakes per worker that may wait for a certificate at once. Above it: TLS alert `internal_error`; from half of it on
    also for client networks (/24, /56) that have a quarter of the places themselves."""

    client_hello: Size = Size(32 * 1024)
    """Bytes of a ClientHello, over all its records. A hello with post-quantum key shares is about 2 KiB."""

    request_head: Size = Size(32 * 1024)
    """Bytes of a request line and its header fields together. Above it: 431."""

    request_line: Size = Size(16 * 1024)
    """Bytes of a request line. Above it: 414."""

    header_count: int = 128
    """Header fields of one message. Above it: 431."""

    client_rate: Size = Size(256)
    """Bytes a second that a client connection must bring of a request's body, and take of an answer, on average over what
    `timeouts.client_body` and `timeouts.write` allow for a pause; streams of HTTP/2 share it. Time in which the origin is the
    slower one does not count. Below it: 408, or the answer is cut off. 0: any progress is enough."""

    request_body: Size = Size(0)
    """Bytes of a request's body. Above it: 413, before the origin hears of the request where its Content-Length tells, else
    where the bound is passed, and the origin's connection is closed. WebSockets do not count. A domain may have
    a bound of its own (`request_body` of its policies). 0: any size."""

    response_head: Size = Size(64 * 1024)
    """Bytes of an origin's status line and header fields together. Above it: 502."""

    requests_per_connection: int = 100_000
    """Requests on one client connection before it is closed in an orderly way."""

    streams: int = 128
    """Concurrent HTTP/2 streams per connection."""

    origin_connections: int = 1_024
    """Open connections per worker to one origin. Above it requests wait for `timeouts.origin_connect`, then 504. While others
    wait a client network (/24, /56) that has more than the fourth part of them gives some back, slow clients' first: 503, or
    the answer is cut off. Requests whose body is still to come have at most half of them, and those of one such network half of
    that: above it they wait as long for others to end or for the rest of their body, then 503. Clients in
    `listen.trusted_proxies` do not count."""

    origin_idle: int = 256
    """Idle connections per worker kept to one origin."""

    origin_failures: int = 50
    """Failures in a row, of connections or of whole requests, over three seconds at least, after which a worker leaves an
    origin alone: but for one request after each `timeouts.origin_retry`, its visitors get 503 with Retry-After until it
    answers."""

    compressed_answers: int = 128
    """Answers per worker that are compressed while they come in pieces, up to 900 KB of memory each. Above it further ones go
    as they are. Those that an origin sends in one piece, up to 32 KB, do not count. See `compression`."""

    contexts: int = 2_000
    """TLS contexts held per worker (about 22 KB each). Above it the least recently used is dropped; pinned names stay."""

    sites: int = 20_000
    """Routes remembered per worker. The published map has all of them; this is only a cache."""

    negative_names: int = 20_000
    """Refused names remembered per worker."""

    pending_issuances: int = 10_000
    """Names that may be waiting for a certificate at once in the controller (about 1 KB each, and a row of the store). Above
    it the workspace with the most of them loses its last one; a name of that workspace itself is turned away, unless it has a
    visitor and another one of the workspace had none."""

    unknown_names: int = 10
    """Names a second that nobody registered, and that a gate or a pattern may still admit, which one client network (/24, /56)
    has a worker ask the controller about; ten times as many at once. Above it: TLS alert `internal_error`. Names that have
    their certificate, or are being asked about already, and clients in `listen.trusted_proxies`, do not count."""

    new_names: int = 100
    """Names an hour, admitted by a gate or a pattern alone, for which one client network (/24, /56) may have a certificate
    obtained; as many at once. Above it: TLS alert `internal_error`, for that network alone. Registered domains, names whose
    certificate is there or being obtained already, and clients in `listen.trusted_proxies`, do not count."""

    gate_routes: int = 100_000
    """Routes learnt from the gate that are kept in the store."""

    domains_per_workspace: int = 1_000
    """Domains of one workspace, where the platform (`entitlement`) does not say how many it may have. Above it: no further one
    can be registered. What the operator adds without verification is not refused."""

    token_requests: int = 100
    """Requests a second with one token under `api.hostname`; thirty times as many at once, so that 2,000 domains can be
    looked at every 30 s in one go. Above it: 429 with Retry-After. A token for one domain may send 2 a second, 60 at once."""

    dns_answers: int = 100
    """Answers a second over UDP to one client network (/24, /56) by the DNS server; twice as many at once. Above it: silence,
    and to every second question the advice to ask by TCP."""

    access_log_queue: int = 10_000
    """Access log lines that may wait to be written. Above it lines are dropped and counted; requests never wait."""


RELAY_BUFFER = 68 * 1024
"""Bytes read from a socket at once. One such buffer serves a whole worker: it is emptied before the next read. A body of 64 KiB
comes in one with its head, or in the records of TLS: an upload of that size costs a twelfth less than with a read of 64."""

WRITE_HIGH_WATER = 32 * 1024
"""Bytes queued for a peer above which its source is no longer read: with the read that passes it, what one who reads slowly
costs. More would make nobody faster, the kernel's own buffer grows with the way (measured with 16, 32 and 64 KiB). With
RELAY_BUFFER and TLS overhead a connection stays under 256 KiB."""

REQUESTS_AHEAD = 64 * 1024
"""Bytes kept of what an HTTP/1.1 client sends before its turn, or faster than the origin takes it, above which it is not
read."""

HEADER_MEMO_ENTRIES = 4_096
HEADER_MEMO_LINE = 512
"""Validated header lines remembered by their bytes. The memo is emptied when full: an attacker who fills it buys one
slow classification per 4,096 lines sent, and 2.5 MB."""

LINK_MESSAGE = 1024 * 1024
"""Bytes of one message between processes."""

LINK_QUEUE = 10_000
"""Messages that may wait on a link before the peer counts as gone."""

LINK_QUEUED_BYTES = 16 * 1024 * 1024
"""Bytes that those messages may have together."""

REQUEST_BODY = 10**15
"""The largest bound that a domain's request bodies may have: what JSON's numbers are exact for."""

CHANNEL_MESSAGE = 64 * 1024
"""Bytes of one message between the supervisor and a child: a packet has to fit into the kernel's socket buffer."""

CHANNEL_QUEUE = 1_000
"""Messages to a child that may wait until it reads; then it counts as hung."""

UPLOADS_SHARE = 2
"""Requests whose body is still to come hold at most one in so many of an origin's connections (limits.origin_connections):
however slowly bodies come, whoever sends none, or has sent all of it, finds a connection."""

LISTEN_BACKLOG = 4_096
"""Connections that may wait to be accepted, per listening address; the kernel takes the lower of this and
net.core.somaxconn."""

HTTP2_MALFORMED = 100
"""Requests on one HTTP/2 connection that the client makes us reset (malformed ones that only we find, and those that went on to
the origin before they turned out to be malformed: CVE-2025-8671), or whose head is too large, which HPACK makes of a few bytes.
Above it the connection ends with ENHANCE_YOUR_CALM. A client that works sends none."""

HTTP2_RESETS = (500, 33)
"""RST_STREAM from the client of an HTTP/2 connection: burst and rate per second (CVE-2023-44487). A browser that leaves a page
resets what is open, a hundred streams at most, so that somebody may leave four pages at once and one every three seconds."""

HTTP2_GLITCHES = (1_000, 100)
"""What only hostile or broken clients send often on an HTTP/2 connection: malformed messages, empty DATA, unknown and PRIORITY
frames. Burst and rate per second; none of them costs more than a head's parsing."""

HTTP2_CHATTER = (20_000, 20_000)
"""Frames of an HTTP/2 connection that bring neither a request nor content, and that no other bound is for: WINDOW_UPDATE, PING,
SETTINGS, GOAWAY, padding. Burst and rate per second; each costs 0.2 to 2 µs. A client that acknowledges every frame of a
download twice, for its stream and for the connection, stays below it: see HTTP2_CHATTER_PER."""

HTTP2_CHATTER_PER = 1024
"""Bytes of content taken from us for which a client has one such frame more."""

HTTP2_CRUMBS = 1024
"""Fields of a head as HTTP/2 brings them, cookie crumbs included (RFC 9113 section 8.2.3): browsers send one per cookie."""
