"""Capabilities: names, numbers, sets. Source: capabilities(7), <linux/capability.h>."""

from __future__ import annotations

from inception.linux.files import read_file

# In the order of their numbers, from 0.
_WORDS = """
    CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
    NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
    SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
    MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE
"""
NAMES: tuple[str, ...] = tuple(f"CAP_{word}" for word in _WORDS.split())
NUMBERS: dict[str, int] = {name: number for number, name in enumerate(NAMES)}


def last_cap() -> int:
    """The highest capability that the running kernel knows."""
    return int(read_file("/proc/sys/kernel/cap_last_cap"))


def mask(names: list[str]) -> int:
    """The bit set of *names* (`CAP_...`); KeyError for one that does not exist."""
    value = 0
    for name in names:
        value |= 1 << NUMBERS[name]
    return value


def names(value: int) -> list[str]:
    """The names in a bit set."""
    return [name for number, name in enumerate(NAMES) if value >> number & 1]


def held(field: str = "CapEff", *others: str, pid: str = "self") -> int:
    """A capability set of a process as a bit set: CapInh, CapPrm, CapEff, CapBnd or CapAmb; of several, what all have."""
    status = read_file(f"/proc/{pid}/status")
    value = -1
    for name in (field, *others):
        value &= int(status.partition(b"\n%s:" % name.encode())[2].split(None, 1)[0], 16)
    return value
