"""Seccomp: an OCI filter description compiled to BPF.

One tree a architecture: system calls are sorted by number, neighbours with the same answer become one range, and a binary
search finds the range, so a filter of 400 names takes about ten comparisons (the kernel remembers answers that depend on the
number alone). An architecture that the description does not list gets the kill that libseccomp gives it; x32, which shares
x86-64's, is told apart by its bit.
Source: seccomp(2); <linux/filter.h>; runtime-spec config-linux.md, "Seccomp"; seccomp_rule_add(3) for the comparisons.
"""

from __future__ import annotations

import struct

from inception.errors import InvalidArgument
from inception.linux import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Protocol

    class Argument(Protocol):
        index: int
        value: int
        value_two: int
        op: str

    class Rule(Protocol):
        names: list[str]
        action: str
        errno_ret: int | None

        @property
        def args(self) -> Sequence[Argument]: ...

    class Description(Protocol):
        """`oci.runtime.Seccomp` is one."""

        default_action: str
        default_errno_ret: int | None
        architectures: list[str]
        listener_path: str

        @property
        def syscalls(self) -> Sequence[Rule]: ...

    Instruction = tuple[int, int, int, int]
    Code = list[Instruction]

_LD: int = abi.BPF_LD | abi.BPF_W | abi.BPF_ABS
_JEQ: int = abi.BPF_JMP | abi.BPF_JEQ | abi.BPF_K
_JGT: int = abi.BPF_JMP | abi.BPF_JGT | abi.BPF_K
_JGE: int = abi.BPF_JMP | abi.BPF_JGE | abi.BPF_K
_JA: int = abi.BPF_JMP | abi.BPF_JA
_AND: int = abi.BPF_ALU | abi.BPF_AND | abi.BPF_K
_RET: int = abi.BPF_RET | abi.BPF_K
_FAIL = -1  # a jump target to be filled in: the next rule
_MAX_INSTRUCTIONS = 4096
_X32_BIT = 0x40000000
_ENOSYS = 38
# Defaults that let a call through, to the kernel or to a tracer that answers itself.
_PERMISSIVE = ("SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_TRACE")
_END = 1 << 32

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]. Both machines are little-endian.
_NUMBER, _ARCH, _ARGS = 0, 4, 16

_ACTIONS: dict[str, int] = {
    "SCMP_ACT_KILL": abi.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": abi.SECCOMP_RET_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": abi.SECCOMP_RET_KILL_PROCESS,
    "SCMP_ACT_TRAP": abi.SECCOMP_RET_TRAP,
    "SCMP_ACT_ERRNO": abi.SECCOMP_RET_ERRNO,
    "SCMP_ACT_TRACE": abi.SECCOMP_RET_TRACE,
    "SCMP_ACT_ALLOW": abi.SECCOMP_RET_ALLOW,
    "SCMP_ACT_LOG": abi.SECCOMP_RET_LOG,
    "SCMP_ACT_NOTIFY": abi.SECCOMP_RET_USER_NOTIF,
}
_AUDIT: dict[str, int] = {
    "SCMP_ARCH_X86_64": abi.AUDIT_ARCH_X86_64,
    "SCMP_ARCH_X86": abi.AUDIT_ARCH_I386,
    "SCMP_ARCH_X32": abi.AUDIT_ARCH_X86_64,
    "SCMP_ARCH_AARCH64": abi.AUDIT_ARCH_AARCH64,
    "SCMP_ARCH_ARM": abi.AUDIT_ARCH_ARM,
}
NATIVE = {"x86_64": "SCMP_ARCH_X86_64", "aarch64": "SCMP_ARCH_AARCH64"}[abi.ARCHITECTURE]


def compile_filter(seccomp: Description) -> bytes:
    """The filter as `struct sock_filter[]`. Raises InvalidArgument naming the place in `linux.seccomp`."""
    from inception.linux.syscall_tables import numbers  # 25 KB of text that only this needs

    default = _action(seccomp.default_action, seccomp.default_errno_ret, "linux.seccomp.defaultAction")
    listed = [name for name in (seccomp.architectures or [NATIVE]) if name in _AUDIT]
    if NATIVE not in listed:
        listed.insert(0, NATIVE)
    sections: dict[int, Code] = {}
    for name in listed:
        if name == "SCMP_ARCH_X32":
            continue
        rules = _rules(seccomp, numbers(name), default)
        newer = 1 + _last(seccomp, numbers(name)) if seccomp.default_action not in _PERMISSIVE else None
        if name == "SCMP_ARCH_X86_64":
            if "SCMP_ARCH_X32" in listed:
                rules |= _rules(seccomp, numbers("SCMP_ARCH_X32"), default)
            else:
                rules[-1] = abi.SECCOMP_RET_KILL_PROCESS  # everything from the x32 bit on
        sections[_AUDIT[name]] = [(_LD, 0, 0, _NUMBER), *_search(_ranges(rules, default, newer))]
    code: Code = [(_LD, 0, 0, _ARCH)]
    for audit, section in sections.items():
        code += [(_JEQ, 1, 0, audit), (_JA, 0, 0, len(section)), *section]
    code.append((_RET, 0, 0, abi.SECCOMP_RET_KILL_PROCESS))
    if len(code) > _MAX_INSTRUCTIONS:
        raise InvalidArgument(f"linux.seccomp: {len(code)} instructions; the kernel takes {_MAX_INSTRUCTIONS}")
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def _last(seccomp: Description, table: dict[str, int]) -> int:
    return max((table[name] for rule in seccomp.syscalls for name in rule.names if name in table), default=-1)


def _action(name: str, errno: int | None, where: str) -> int:
    action = _ACTIONS.get(name)
    if action is None:
        raise InvalidArgument(f"{where}: unknown action: {name!r}")
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return action | ((1 if errno is None else errno) & abi.SECCOMP_RET_DATA)
    return action


def _rules(seccomp: Description, table: dict[str, int], default: int) -> dict[int, int | Code]:
    """number -> an action, or the code that looks at arguments."""
    plain: dict[int, int] = {}
    conditional: dict[int, list[tuple[int, Sequence[Argument]]]] = {}
    for index, rule in enumerate(seccomp.syscalls):
        where = f"linux.seccomp.syscalls[{index}]"
        action = _action(rule.action, rule.errno_ret, f"{where}.action")
        if action == default:
            continue
        alternatives: list[Sequence[Argument]] = [rule.args]
        if len({arg.index for arg in rule.args}) < len(rule.args):
            alternatives = [[arg] for arg in rule.args]  # several conditions on one argument: any of them
        for name in rule.names:
            number = table.get(name)
            if number is None:  # of another architecture, or newer than our tables: the default action has it
                continue
            if not rule.args:
                plain.setdefault(number, action)
            else:
                conditional.setdefault(number, []).extend((action, args) for args in alternatives)
        for arg in rule.args:
            if arg.op not in _COMPARE or not 0 <= arg.index < 6:
                raise InvalidArgument(f"{where}.args: unknown comparison {arg.op!r} of argument {arg.index}")
    rules: dict[int, int | Code] = dict(plain)
    for number, cases in conditional.items():
        if number not in plain:
            rules[number] = _conditions(cases, default)
    return rules


def _conditions(cases: list[tuple[int, Sequence[Argument]]], default: int) -> Code:
    code: Code = []
    for action, args in cases:
        block: Code = []
        for arg in args:
            block += _COMPARE[arg.op](arg)
        block.append((_RET, 0, 0, action))
        size = len(block)
        code += [
            (op, size - at - 1 if yes == _FAIL else yes, size - at - 1 if no == _FAIL else no, k)
            for at, (op, yes, no, k) in enumerate(block)
        ]
    return [*code, (_RET, 0, 0, default)]


def _high(arg: Argument) -> Instruction:
    return (_LD, 0, 0, _ARGS + 8 * arg.index + 4)


def _low(arg: Argument) -> Instruction:
    return (_LD, 0, 0, _ARGS + 8 * arg.index)


def _halves(value: int) -> tuple[int, int]:
    return value >> 32 & 0xFFFFFFFF, value & 0xFFFFFFFF


def _equal(arg: Argument) -> Code:
    high, low = _halves(arg.value)
    return [_high(arg), (_JEQ, 0, _FAIL, high), _low(arg), (_JEQ, 0, _FAIL, low)]


def _not_equal(arg: Argument) -> Code:
    high, low = _halves(arg.value)
    return [_high(arg), (_JEQ, 0, 2, high), _low(arg), (_JEQ, _FAIL, 0, low)]


def _at_least(arg: Argument, jump: int = _JGE) -> Code:
    high, low = _halves(arg.value)
    return [_high(arg), (_JGT, 3, 0, high), (_JEQ, 0, _FAIL, high), _low(arg), (jump, 0, _FAIL, low)]


def _less(arg: Argument, jump: int = _JGE) -> Code:
    high, low = _halves(arg.value)
    return [_high(arg), (_JGT, _FAIL, 0, high), (_JEQ, 0, 2, high), _low(arg), (jump, _FAIL, 0, low)]


def _masked(arg: Argument) -> Code:
    mask_high, mask_low = _halves(arg.value)
    high, low = _halves(arg.value_two)
    return [
        _high(arg),
        (_AND, 0, 0, mask_high),
        (_JEQ, 0, _FAIL, high),
        _low(arg),
        (_AND, 0, 0, mask_low),
        (_JEQ, 0, _FAIL, low),
    ]


_COMPARE = {
    "SCMP_CMP_EQ": _equal,
    "SCMP_CMP_NE": _not_equal,
    "SCMP_CMP_GE": _at_least,
    "SCMP_CMP_GT": lambda arg: _at_least(arg, _JGT),
    "SCMP_CMP_LT": _less,
    "SCMP_CMP_LE": lambda arg: _less(arg, _JGT),
    "SCMP_CMP_MASKED_EQ": _masked,
}


ACTIONS, OPERATORS, ARCHITECTURES = list(_ACTIONS), list(_COMPARE), list(_AUDIT)


def _ranges(rules: dict[int, int | Code], default: int, newer: int | None = None) -> list[tuple[int, int | Code]]:
    """(first number, answer) of each range, in order; the first starts at 0.

    From *newer* on are calls that the description's author knew nothing of. They get ENOSYS, as from an older kernel: a C
    library then does without, where a flat EPERM would make it give up. libseccomp's users (runc, crun) do the same.
    """
    beyond = rules.pop(-1, None)
    ranges: list[tuple[int, int | Code]] = [(0, default)]

    def put(start: int, answer: int | Code) -> None:
        if ranges[-1][0] == start:
            ranges.pop()
        if not ranges or isinstance(answer, list) or ranges[-1][1] != answer:
            ranges.append((start, answer))

    for number in sorted(rules):
        if newer and number >= _X32_BIT:
            break
        put(number, rules[number])
        put(number + 1, default)
    if newer:
        put(newer, abi.SECCOMP_RET_ERRNO | _ENOSYS)
    if beyond is not None:
        put(_X32_BIT, beyond)
    elif newer:
        put(_X32_BIT, default)
        for number in sorted(number for number in rules if number >= _X32_BIT):
            put(number, rules[number])
            put(number + 1, default)
    return ranges


def _search(ranges: list[tuple[int, int | Code]]) -> Code:
    if len(ranges) == 1:
        answer = ranges[0][1]
        return answer if isinstance(answer, list) else [(_RET, 0, 0, answer)]
    middle = len(ranges) // 2
    left, right = _search(ranges[:middle]), _search(ranges[middle:])
    start = ranges[middle][0]
    if len(left) < 256:
        return [(_JGE, len(left), 0, start), *left, *right]
    return [(_JGE, 0, 1, start), (_JA, 0, 0, len(left)), *left, *right]
