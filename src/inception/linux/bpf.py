"""Device control by eBPF: the only way on cgroup v2, and the cheap way in a hybrid hierarchy.

A program of type BPF_PROG_TYPE_CGROUP_DEVICE is asked for every open and mknod of a device node: it gets
`struct bpf_cgroup_dev_ctx {u32 access_type; u32 major; u32 minor;}`, access in the upper half of `access_type` and the type in
the lower, and answers 1 (allow) or 0. Source: linux/bpf.h; kernel admin-guide/cgroup-v2.rst, "Device controller".

Programs attach with BPF_F_ALLOW_MULTI, as runc's and systemd's do: all programs on the path to the root must allow.
"""

from __future__ import annotations

import os
from struct import Struct

from inception._spawn import address
from inception.linux import abi
from inception.linux.call import syscall
from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# linux/bpf.h: enum bpf_cmd, bpf_prog_type, bpf_attach_type, and the flags of BPF_PROG_ATTACH.
_PROG_LOAD, _PROG_ATTACH, _PROG_DETACH, _PROG_GET_FD_BY_ID, _PROG_QUERY = 5, 8, 9, 13, 16
_TYPE_CGROUP_DEVICE, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI = 15, 6, 2

# linux/bpf.h: BPF_DEVCG_*.
_DEVICE_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}

_INSTRUCTION = Struct("<BBhi")
_MOV_K, _MOV_X, _AND_K, _RSH_K, _LOAD_W, _JEQ_K, _JNE_K, _JNE_X, _EXIT = 0xB7, 0xBF, 0x57, 0x77, 0x61, 0x15, 0x55, 0x5D, 0x95
_R0, _R1, _R2, _R3, _R4, _R5 = range(6)


class DeviceRule(Record):
    """`type` is `a`, `b` or `c`; `major`/`minor` None mean all; `access` is made of `r`, `w` and `m` (mknod)."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


def device_program(rules: Sequence[DeviceRule]) -> bytes:
    """The instructions that decide as *rules* do: the last rule that matches wins, none means denied.

    An allow rule matches when it covers all that is asked for, a deny rule when it covers any of it.
    """
    code = bytearray()

    def emit(op: int, dst: int = 0, src: int = 0, offset: int = 0, imm: int = 0) -> None:
        code.extend(_INSTRUCTION.pack(op, src << 4 | dst, offset, imm))

    emit(_LOAD_W, _R2, _R1, 0)
    emit(_MOV_X, _R3, _R2)
    emit(_AND_K, _R2, imm=0xFFFF)
    emit(_RSH_K, _R3, imm=16)
    emit(_LOAD_W, _R4, _R1, 4)
    emit(_LOAD_W, _R5, _R1, 8)
    for rule in reversed(rules):
        block: list[tuple[int, int, int, int]] = []
        if rule.type != "a":
            block.append((_JNE_K, _R2, 0, _DEVICE_TYPES[rule.type]))
        access = sum(_ACCESS[letter] for letter in set(rule.access))
        if access != 7:
            block += [(_MOV_X, _R1, _R3, 0), (_AND_K, _R1, 0, access)]
            block.append((_JNE_X, _R1, _R3, 0) if rule.allow else (_JEQ_K, _R1, 0, 0))
        if rule.major is not None:
            block.append((_JNE_K, _R4, 0, rule.major))
        if rule.minor is not None:
            block.append((_JNE_K, _R5, 0, rule.minor))
        block += [(_MOV_K, _R0, 0, int(rule.allow)), (_EXIT, 0, 0, 0)]
        for position, (op, dst, src, imm) in enumerate(block):
            jumps = op in (_JEQ_K, _JNE_K, _JNE_X)
            emit(op, dst, src, len(block) - position - 1 if jumps else 0, imm)
        if len(block) == 2:
            return bytes(code)  # matches everything: what follows could never run, which the verifier refuses
    emit(_MOV_K, _R0, imm=0)
    emit(_EXIT)
    return bytes(code)


def attach_device_program(cgroup_fd: int, rules: Sequence[DeviceRule], *, fresh: bool = False) -> None:
    """Puts *rules* in force on a v2 cgroup, in place of those that stood there; in a *fresh* one there are none.

    The new program is attached before the old ones go, so that no moment is without one. Raises OSError: EPERM without
    CAP_BPF and CAP_NET_ADMIN (or CAP_SYS_ADMIN), EINVAL where the kernel lacks CONFIG_CGROUP_BPF.
    """
    old = [] if fresh else _attached(cgroup_fd)
    program, kept = _program(rules)
    try:
        _bpf(_PROG_ATTACH, Struct("=IIII").pack(cgroup_fd, program, _ATTACH_CGROUP_DEVICE, _ALLOW_MULTI))
    finally:
        if not kept:
            os.close(program)
    for identifier in old:
        fd = _bpf(_PROG_GET_FD_BY_ID, Struct("=III").pack(identifier, 0, 0))
        try:
            _bpf(_PROG_DETACH, Struct("=IIII").pack(cgroup_fd, fd, _ATTACH_CGROUP_DEVICE, 0))
        finally:
            os.close(fd)


# Loaded programs of this process by their rules; a program is immutable, so any number of cgroups may have the same one.
_programs: dict[tuple[tuple[object, ...], ...], int] = {}
_KEPT = 8


def _program(rules: Sequence[DeviceRule]) -> tuple[int, bool]:
    """The fd of a program for *rules*, and whether it is kept for others; if not, it is the caller's."""
    key = tuple((rule.allow, rule.type, rule.major, rule.minor, rule.access) for rule in rules)
    program = _programs.get(key)
    if program is not None:
        return program, True
    program = _load(device_program(rules))
    if len(_programs) >= _KEPT:
        return program, False
    kept = _programs.setdefault(key, program)
    if kept != program:  # another thread was faster
        os.close(program)
    return kept, True


def _attached(cgroup_fd: int) -> list[int]:
    """Ids of the device programs attached to this very cgroup."""
    ids = bytearray(4 * 64)
    attr = bytearray(Struct("=IIIIQI4x").pack(cgroup_fd, _ATTACH_CGROUP_DEVICE, 0, 0, address(ids), 64))
    _bpf(_PROG_QUERY, attr)
    return list(Struct(f"={Struct('=I').unpack_from(attr, 24)[0]}I").unpack_from(ids))


def _load(code: bytes) -> int:
    """The fd of a loaded program; owned by the caller, close-on-exec as all bpf fds are."""
    licence = b"Apache-2.0\0"
    attr = Struct("=IIQQIIQII16s").pack(
        _TYPE_CGROUP_DEVICE,
        len(code) // _INSTRUCTION.size,
        address(code),
        address(licence),
        0,
        0,
        0,
        0,
        0,
        b"inception_dev",
    )
    return _bpf(_PROG_LOAD, attr)


def _bpf(command: int, attr: bytes | bytearray) -> int:
    buffer = attr if isinstance(attr, bytearray) else bytearray(attr)
    for attempt in range(8):
        try:
            return syscall(abi.SYS_bpf, command, buffer, len(buffer))
        except BlockingIOError:  # the verifier gives up when a signal is pending (kernel/bpf/verifier.c); libbpf retries too
            if attempt == 7:
                raise
    raise AssertionError("unreachable")
