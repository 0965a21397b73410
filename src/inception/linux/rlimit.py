"""Resource limits by name. Source: getrlimit(2); runtime-spec config.md, "rlimits"."""

from __future__ import annotations

from inception.linux import abi

_NAMES = "as core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()  # noqa: SIM905

# `RLIMIT_NOFILE` -> the kernel's number; `--ulimit nofile=...` uses the lower-case half.
NUMBERS: dict[str, int] = {f"RLIMIT_{name.upper()}": getattr(abi, f"RLIMIT_{name.upper()}") for name in _NAMES}
INFINITY = (1 << 64) - 1


def number(name: str) -> int | None:
    """The number of `RLIMIT_NOFILE` or `nofile`, None when there is no such limit."""
    return NUMBERS.get(name) if name.startswith("RLIMIT_") else NUMBERS.get(f"RLIMIT_{name.upper()}")
