"""The smallest programs for two machines: each writes `made by ARCHITECTURE` into /made. No compiler for another machine is
needed, and no download."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from inception.linux import abi
from inception.linux.mount import mount, umount2

_BASE = 0x400000
_HEAD = 64 + 56
_PATH = b"/made\0"
QEMU = "/usr/bin/qemu-aarch64-static"


def program(architecture: str) -> bytes:
    """An ELF executable for `amd64` or `arm64`."""
    text = f"made by {architecture}\n".encode()
    code, machine = (_arm64(len(text)), 183) if architecture == "arm64" else (_amd64(len(text)), 62)
    body = code + _PATH + text
    size = _HEAD + len(body)
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + _HEAD, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    head += struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000)
    return head + body


def _arm64(length: int) -> bytes:
    """openat, write, exit; 14 instructions."""
    size = 14 * 4

    def adr(register: int, at: int, target: int) -> int:
        distance = target - at
        return 0x10000000 | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5 | register

    def move(register: int, value: int) -> int:
        return 0xD2800000 | value << 5 | register

    call = 0xD4000001
    words = [0x92800000 | 99 << 5, adr(1, 4, size), move(2, 0o101), move(3, 0o644), move(8, 56), call]
    words += [adr(1, 24, size + len(_PATH)), move(2, length), move(8, 64), call]
    words += [move(0, 0), move(8, 93), call, call]
    return struct.pack("<14I", *words)


def _amd64(length: int) -> bytes:
    """open, write, exit."""
    code = b"\x48\x8d\x3d%s\xbe\x41\0\0\0\xba\xa4\x01\0\0\xb8\x02\0\0\0\x0f\x05"  # lea rdi, path; open(rdi, 0x41, 0644)
    code += b"\x89\xc7\x48\x8d\x35%s\xba%s\xb8\x01\0\0\0\x0f\x05"  # write(fd, text, length)
    code += b"\x31\xff\xb8\x3c\0\0\0\x0f\x05"  # exit(0)
    total = len(code) - 6 + 12
    first = struct.pack("<i", total - 7)
    start = code.index(b"\x48\x8d\x35") - 2 + 4  # the first %s has become four bytes
    second = struct.pack("<i", total + len(_PATH) - (start + 7))
    return code % (first, second, struct.pack("<i", length))


@contextmanager
def emulation(folder: Path) -> Iterator[None]:
    """Registers qemu for arm64 under a name of the tests' own, and takes it away again."""
    place = "/proc/sys/fs/binfmt_misc"
    mounted = os.path.exists(f"{place}/register")
    if not mounted:
        place = str(folder)
        folder.mkdir()
        mount("binfmt_misc", place, "binfmt_misc", 0)
    name = f"inception-test-{os.getpid()}"
    magic = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
    mask = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"
    try:
        Path(place, "register").write_text(f":{name}:M::{magic}:{mask}:{QEMU}:F")
        yield
    finally:
        if os.path.exists(f"{place}/{name}"):
            Path(place, name).write_text("-1")
        if not mounted:
            umount2(place, abi.MNT_DETACH)
