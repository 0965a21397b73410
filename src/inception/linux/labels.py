"""Which of the kernel's labelling modules are at work."""

from __future__ import annotations


def apparmor_enabled() -> bool:
    """Whether AppArmor confines programs here; it can be built in and switched off. Source: aa-enabled(1)."""
    try:
        with open("/sys/module/apparmor/parameters/enabled", "rb") as file:
            return file.read(1) == b"Y"
    except OSError:
        return False
