"""DNS messages as far as a resolver that knows a few names needs them: one question in, addresses or a name out.

Whatever is forwarded passes as the bytes it is; only its id changes. So the question is all that is ever parsed, with every
offset checked, from packets that any process in the container may forge. Source: RFC 1035 section 4, RFC 6891 (EDNS).
"""

from __future__ import annotations

A, PTR, AAAA, OPT, ANY = 1, 12, 28, 41, 255
IN = 1
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP = 0, 1, 2, 3, 4

HEADER_BYTES = 12
UDP_BYTES = 512
# What we let a client's EDNS size go up to: one packet on a bridge of 1500 bytes would be less, but this never leaves lo.
EDNS_BYTES = 4096
NAME_BYTES = 255

_QR, _AA, _TC, _RD, _RA = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080
_OPCODE = 0x7800
# The owner name of every answer is the question's, at offset 12.
_SAME_NAME = b"\xc0\x0c"


class BadQuery(Exception):
    """Not a query that can be answered; `rcode` says so to the sender, None is silence."""

    def __init__(self, rcode: int | None) -> None:
        super().__init__(f"rcode {rcode}")
        self.rcode = rcode


class Question:
    """A query's one question. `name` is lower case without the last dot, `raw` the question section as it came."""

    __slots__ = ("edns", "flags", "id", "kind", "name", "qclass", "raw", "udp_bytes")

    def __init__(self, id: int, flags: int, name: str, kind: int, qclass: int, raw: bytes) -> None:
        self.id = id
        self.flags = flags
        self.name = name
        self.kind = kind
        self.qclass = qclass
        self.raw = raw
        self.edns = False
        self.udp_bytes = UDP_BYTES


def parse_query(data: bytes) -> Question:
    """The question of the query *data*. Raises BadQuery."""
    if len(data) < HEADER_BYTES:
        raise BadQuery(None)
    id, flags, questions, answers, authorities, additional = (
        int.from_bytes(data[start : start + 2], "big") for start in range(0, HEADER_BYTES, 2)
    )
    if flags & _QR:
        raise BadQuery(None)  # an answer: answering those is how packets go in circles
    if flags & _OPCODE:
        raise BadQuery(NOTIMP)
    if questions != 1 or answers or authorities:
        raise BadQuery(FORMERR)
    name, end = _parse_name(data, HEADER_BYTES)
    if end + 4 > len(data):
        raise BadQuery(FORMERR)
    kind, qclass = int.from_bytes(data[end : end + 2], "big"), int.from_bytes(data[end + 2 : end + 4], "big")
    question = Question(id, flags, name, kind, qclass, data[HEADER_BYTES : end + 4])
    option = data[end + 4 : end + 15]
    if additional and len(option) == 11 and option[0] == 0 and int.from_bytes(option[1:3], "big") == OPT:
        question.edns = True
        question.udp_bytes = min(max(int.from_bytes(option[3:5], "big"), UDP_BYTES), EDNS_BYTES)
    return question


def _parse_name(data: bytes, start: int) -> tuple[str, int]:
    """The name at *start* and the offset behind it. Compression has nothing to point back to in a question."""
    labels = []
    at = start
    while True:
        if at >= len(data):
            raise BadQuery(FORMERR)
        length = data[at]
        at += 1
        if length == 0:
            break
        if length > 63 or at + length - start >= NAME_BYTES:
            raise BadQuery(FORMERR)
        labels.append(data[at : at + length])
        at += length
    return b".".join(labels).decode("latin-1").lower(), at


def answer(question: Question, rcode: int, records: list[tuple[int, bytes]], ttl_s: int, limit: int) -> bytes:
    """The answer to *question* in at most *limit* bytes: *records* are (type, data); what does not fit sets TC."""
    option = b"\0" + OPT.to_bytes(2, "big") + EDNS_BYTES.to_bytes(2, "big") + bytes(6) if question.edns else b""
    room = limit - HEADER_BYTES - len(question.raw) - len(option)
    body = []
    truncated = 0
    for kind, data in records:
        record = b"".join(
            (
                _SAME_NAME,
                kind.to_bytes(2, "big"),
                IN.to_bytes(2, "big"),
                ttl_s.to_bytes(4, "big"),
                len(data).to_bytes(2, "big"),
                data,
            )
        )
        room -= len(record)
        if room < 0:
            truncated = _TC
            break
        body.append(record)
    flags = _QR | _AA | _RA | (question.flags & _RD) | truncated | rcode
    counts = (question.id, flags, 1, len(body), 0, 1 if option else 0)
    return b"".join([*(value.to_bytes(2, "big") for value in counts), question.raw, *body, option])


def refusal(query: bytes, rcode: int) -> bytes:
    """An answer without anything but *rcode*, to a query that could not be read."""
    flags = _QR | (int.from_bytes(query[2:4], "big") & (_OPCODE | _RD)) | rcode
    return query[:2] + flags.to_bytes(2, "big") + bytes(8)


def encode_name(name: str) -> bytes:
    """*name* as labels; it comes from our tables, whose names fit."""
    labels = [label.encode("ascii", "replace")[:63] for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def is_answer_to(data: bytes, id: int, question: Question) -> bool:
    """Whether *data*, from an upstream server, answers the *question* that was asked under *id*."""
    return (
        len(data) >= HEADER_BYTES
        and int.from_bytes(data[:2], "big") == id
        and bool(data[2] & 0x80)
        and data[HEADER_BYTES : HEADER_BYTES + len(question.raw)].lower() == question.raw.lower()
    )


def rcode_of(data: bytes) -> int:
    return data[3] & 0x0F
