"""A plan: the start of a process as a list of system calls with their arguments ready.

    plan = plan_container(spec, ...)      decided in Python; nothing has happened
    print(plan)                           reads like strace, each line with the part of the spec that asked for it
    plan.compile()                        bytes for the stub in _spawn_stub.h, which walks them after the clone

Arguments are ints, strings, bytes (structures), None, lists of strings (argv), and *slots*: named descriptors, which the
caller gives (`plan.inherit("netns")`) or an earlier step makes (`out=`). A slot that a step fills again is closed first.
A compiled plan holds everything; with the same descriptors it can be walked any number of times, by any process.
"""

from __future__ import annotations

import struct

from inception import _spawn
from inception.linux import abi

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    from inception.errors import StartFailed

    Argument: TypeAlias = "int | str | bytes | Slot | Sequence[str] | None"

_HEADER = struct.Struct("=IIIIIIQQ")
_STEP = struct.Struct("=HHhHhhHH6Q")
_STEP_SIZE = 64
assert _STEP.size == _STEP_SIZE
_BASE: int = abi.PLAN_BASE
_OP_SYSCALL: int = abi.OP_SYSCALL
_MASK64 = (1 << 64) - 1

# Steps that are more than one call, by the name they have in a plan.
_OPS: dict[str, int] = {
    name: getattr(abi, f"OP_{name.upper()}")
    for name in (
        "target",
        "write",
        "expect_fs",
        "expect_dev",
        "mask",
        "chown_stdio",
        "send_fd",
        "pause",
        "accept",
        "hook",
        "find",
        "preserve",
        "parent_alive",
        "fork",
        "reap",
        "mode_of",
        "close",
        "exec",
    )
}
_NUMBERS: dict[str, tuple[int, int]] = {
    **{name[4:]: (_OP_SYSCALL, value) for name, value in vars(_spawn).items() if name.startswith("SYS_")},
    **{name: (op, 0) for name, op in _OPS.items()},  # `write` is ours, not write(2)
}


class Slot(str):
    """A descriptor in a plan, by name; printed as `<name>`."""

    __slots__ = ()


class Program(bytes):
    """BPF instructions, compiled into a `struct sock_fprog` that points at them."""

    __slots__ = ()


class Step:
    """One line of a plan. `source` is the place in the spec that asked for it, `why` a sentence for people."""

    __slots__ = ("args", "name", "out", "skip", "source", "tolerate", "why")

    def __init__(
        self,
        name: str,
        args: tuple[Argument, ...],
        out: Slot | None,
        source: str,
        why: str,
        tolerate: tuple[int, ...],
        skip: int,
    ) -> None:
        self.name = name
        self.args = args
        self.out = out
        self.source = source
        self.why = why
        self.tolerate = tolerate
        self.skip = skip

    def __str__(self) -> str:
        from inception.runtime.words import show_step  # only for people

        return show_step(self)


class Plan:
    """Steps in their order, the flags of the first clone, and the descriptors that the caller must give."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.inherited: list[Slot] = [Slot("parent")]
        self.clone_flags = 0
        self.clone_source = ""
        self.cgroup_path = ""
        self.source = ""  # of the steps being added
        self.before = 0  # how many more steps the plan had that this one stands for, for the words of a failure
        self._compiled: bytes | None = None

    def call(
        self,
        name: str,
        *args: Argument,
        out: Slot | None = None,
        why: str = "",
        tolerate: tuple[int, ...] = (),
        skip: int = 0,
    ) -> None:
        """Add a step: a system call by its name, or one of the composite steps. After one of the errnos in *tolerate* (at
        most two) the plan goes on, *skip* steps further."""
        self.steps.append(Step(name, args, out, self.source, why, tolerate, skip))

    def inherit(self, name: str) -> Slot:
        """The descriptor *name*, which whoever spawns the plan must give."""
        slot = Slot(name)
        if slot not in self.inherited:
            self.inherited.append(slot)
        return slot

    def close_all_but(self, kept: list[Slot], why: str) -> None:
        """Close every descriptor that was given or made so far, but for *kept*."""
        held = dict.fromkeys([*self.inherited, *(step.out for step in self.steps if step.out is not None)])
        rest = [slot for slot in held if slot not in kept]
        for start in range(0, len(rest), 6):
            self.call("close", *rest[start : start + 6], why=why)

    def number(self, slot: Slot) -> int:
        """The descriptor's number in the new process, for structures that hold numbers; *slot* is an inherited one."""
        return int(abi.FD_PARENT) + self.inherited.index(slot)

    @property
    def fds(self) -> list[str]:
        """Names of the descriptors that a spawn must give."""
        return [str(name) for name in self.inherited[1:]]

    def compile(self) -> bytes:
        """The plan as bytes for `_spawn`; the same object each time."""
        if self._compiled is None:
            self._compiled = _Compiler(self).bytes
        return self._compiled

    def failure(self, error: _spawn.SpawnError) -> StartFailed:
        """The words, hint and exit code for a start of this plan that failed."""
        from inception.runtime.words import explain_failure

        return explain_failure(self, error.step, error.errno, error.value, error.head)

    def __str__(self) -> str:
        from inception.runtime.words import show_plan

        return show_plan(self)

    def explain(self) -> str:
        """The plan with a sentence a step."""
        from inception.runtime.words import explain_plan

        return explain_plan(self)


class _Compiler:
    def __init__(self, plan: Plan) -> None:
        names = b"".join(name.encode() + b"\0" for name in plan.inherited[1:])
        names += bytes(-len(names) % 8)
        steps_offset = _HEADER.size + len(names)
        data_offset = steps_offset + _STEP_SIZE * len(plan.steps)
        self._data = bytearray()
        self._start = _BASE + data_offset
        self._known: dict[object, int] = {}
        self._slots: dict[str, int] = {str(name): number for number, name in enumerate(plan.inherited)}
        steps = bytearray(_STEP_SIZE * len(plan.steps))
        at = 0
        for step in plan.steps:
            self._step(step, steps, at)
            at += _STEP_SIZE
        cgroup = self._place(plan.cgroup_path) - _BASE if plan.cgroup_path else 0
        self._data += b"\0"
        size = data_offset + len(self._data)
        header = _HEADER.pack(
            abi.PLAN_MAGIC,
            len(plan.steps),
            steps_offset,
            len(plan.inherited) - 1,
            _HEADER.size,
            cgroup,
            plan.clone_flags,
            size,
        )
        self.bytes = b"".join((header, names, steps, self._data))

    def _step(self, step: Step, steps: bytearray, at: int) -> None:
        op, number = _NUMBERS[step.name]
        mask = 0
        values = [0, 0, 0, 0, 0, 0]
        for position, arg in enumerate(step.args):
            kind = type(arg)
            if kind is int:
                values[position] = arg & _MASK64  # type: ignore[operator]
            elif kind is Slot:
                values[position] = self._slots[arg]  # type: ignore[index]
                mask |= 1 << position
            elif arg is not None:
                values[position] = self._place(arg)
        out = -1
        if step.out is not None:
            out = self._slots.setdefault(str(step.out), len(self._slots))
            if out >= abi.PLAN_SLOTS:
                raise ValueError("too many slots in a plan")
        first, second, *_ = (*step.tolerate, 0, 0)
        _STEP.pack_into(steps, at, op, number, out, mask, first, second, step.skip, 0, *values)

    def _place(self, value: object) -> int:
        """The address of *value* in the plan's data, where equal values lie once."""
        key = tuple(value) if isinstance(value, list) else (Program, value) if isinstance(value, Program) else value
        address = self._known.get(key)
        if address is None:
            if isinstance(value, str):
                raw = value.encode("utf-8", "surrogateescape")
                if b"\0" in raw:
                    raise ValueError(f"{value!r} holds a NUL byte")
            elif isinstance(value, Program):
                raw = struct.pack("=H6xQ", len(value) // 8, self._place(bytes(value)))
            elif isinstance(value, bytes):
                raw = value
            else:
                assert isinstance(key, tuple)
                pointers = [self._place(item) for item in key]
                raw = struct.pack(f"={len(pointers) + 1}Q", *pointers, 0)
            self._data += bytes(-(len(self._data)) % 8)
            address = self._known[key] = self._start + len(self._data)
            self._data += raw + b"\0"
        return address
