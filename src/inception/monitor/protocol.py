"""What is spoken over `attach.sock`: SOCK_SEQPACKET, one frame a message, its first byte the kind.

The kernel keeps message borders, orders them, carries descriptors beside them and tells us who called; so there is nothing
to parse and nothing to resynchronise.

    client ──▶ monitor                                     monitor ──▶ client
    ATTACH  {"streams": [..], "lossless": bool}            STDOUT, STDERR  bytes
    WATCH   (exits, health)                                EXIT   status as in status.json: at every exit of init
                                                           HEALTH status as in status.json: after every health probe
    STDIN   bytes        CLOSE_STDIN                       OK     {} or {"pid": n}
    RESIZE  rows, columns (two little-endian u16)          FAILED {"message": .., "step": n, "errno": n}
    STOP_REQUESTED       PAUSED   RESUMED                  EXEC_EXIT {"pid": n, "exit_code": n}
    SET_RESTART {"name": .., "maximum_retries": n}
    SET_RESOLVER {"dns": what it knows, or null} + its two sockets, when there was none
    SET_TARGETS {"ipv4": where published ports lead, "ipv6": the same for those of IPv6 addresses}
    CLAIM_RELEASE        EXEC {"slots": [..]} + descriptors

Every request but STDIN, CLOSE_STDIN and RESIZE is answered by OK or FAILED, ATTACH before its first output. A `lossless`
client is waited for (the container blocks when it does not read); any other is dropped once it is QUEUE_BYTES behind.
"""

from __future__ import annotations

ATTACH = b"A"
WATCH = b"W"
STDIN = b"i"
CLOSE_STDIN = b"c"
RESIZE = b"r"
STOP_REQUESTED = b"S"
SET_RESTART = b"R"
SET_RESOLVER = b"D"
SET_TARGETS = b"T"
PAUSED = b"P"
RESUMED = b"U"
CLAIM_RELEASE = b"L"
EXEC = b"E"

STDOUT = b"o"
STDERR = b"e"
EXIT = b"x"
HEALTH = b"h"
OK = b"k"
FAILED = b"f"
EXEC_EXIT = b"y"

# A SEQPACKET message must fit the sender's buffer (net.core.wmem_default, 208 KiB) with room for the kernel's accounting.
DATA_BYTES = 32 << 10
# Health results are the largest answer: five outputs of 4 KiB, each byte up to six characters in JSON.
FRAME_BYTES = 160 << 10
QUEUE_BYTES = 1 << 20
EXEC_SLOTS = 16
