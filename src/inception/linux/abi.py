"""The kernel's constants by their own names: `abi.MS_BIND`, `abi.SYS_openat2`.

They come from the C headers through `inception._spawn`, so that C and Python cannot disagree; plain ints, because an
`enum.IntFlag` costs milliseconds of start-up. `names` turns numbers back into text for plans and errors.
"""

from __future__ import annotations

from inception import _spawn

globals().update({name: value for name, value in vars(_spawn).items() if type(value) is int})  # typed in abi.pyi

ARCHITECTURE = _spawn.ARCHITECTURE


def names(prefix: str, value: int, *, zero: str = "0") -> str:
    """The flags that make up *value*: `names("MS_", 0x1001)` is `MS_RDONLY|MS_BIND`; what has no name stays a number."""
    if value == 0:
        return zero
    found = []
    rest = value
    for name, bit in vars(_spawn).items():
        if name.startswith(prefix) and type(bit) is int and bit and bit & rest == bit and bit & (bit - 1) == 0:
            found.append(name)
            rest &= ~bit
    if rest:
        found.append(hex(rest))
    return "|".join(found)


def syscall_name(number: int) -> str:
    """The name of a system call that this package uses."""
    for name, value in vars(_spawn).items():
        if value == number and name.startswith("SYS_"):
            return name[4:]
    return f"syscall_{number}"
