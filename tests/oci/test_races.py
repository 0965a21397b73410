"""A bundle whose root somebody changes while containers start in it: they get an error, or a container, and nothing else.

RACE_ROUNDS=10000 runs each race that often; without it, a few starts each.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.racing import rounds, swapping

from .harness import Runtime, mounts

pytestmark = pytest.mark.needs("root", "busybox")
_SETTINGS = ("core_pattern", "hostname", "panic")


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/canary").write_text("untouched")
    before = _host(tmp_path)
    yield runtime
    runtime.close()
    assert _host(tmp_path) == before


def _host(folder: Path) -> object:
    null = os.stat("/dev/null")
    return (
        [Path("/proc/sys/kernel", name).read_text() for name in _SETTINGS],
        Path("/proc/self/mountinfo").read_text().count(str(folder)),
        sorted(os.listdir(folder / "outside")),
        (stat.S_IMODE(null.st_mode), null.st_uid, null.st_gid, null.st_rdev),
    )


def _start(rt: Runtime, script: str, least: int, good: str, **changes: object) -> None:
    """Many starts; each either fails or shows *good*, and some of both is what a race is."""
    for _ in range(rounds(least)):
        found = rt.run(script, **changes)
        assert found.code != 0 or found.out == good, found
        assert "Traceback" not in found.err


def test_cve_2025_31133_the_null_device_of_the_image_is_swapped(rt: Runtime):
    (rt.rootfs / "dev/other").symlink_to("/proc/sys/kernel/core_pattern")
    (rt.rootfs / "dev/null").touch()
    without_dev = [mount for mount in mounts() if not str(mount["destination"]).startswith("/dev")]
    with swapping(rt.rootfs / "dev/null", rt.rootfs / "dev/other"):
        linux = {"maskedPaths": ["/proc/kcore", "/proc/sys/kernel/core_pattern"]}
        _start(
            rt,
            "echo '|/x' >/proc/sys/kernel/core_pattern; cat /proc/sys/kernel/core_pattern",
            12,
            "",
            linux=linux,
            mounts=without_dev,
        )


def test_cve_2025_52565_the_console_is_swapped(rt: Runtime):
    (rt.rootfs / "dev/console").touch()
    (rt.rootfs / "dev/other").symlink_to("/proc/sysrq-trigger")
    kept = [mount for mount in mounts() if mount["destination"] != "/dev"]
    with swapping(rt.rootfs / "dev/console", rt.rootfs / "dev/other"):
        for _ in range(rounds(12)):
            words = ["test", "-c", "/dev/console"]
            id = rt.write({"process": {"terminal": True, "args": words}, "mounts": kept})
            found = rt.command("run", id)
            assert "Traceback" not in found.err


def test_cve_2025_52881_settings_are_swapped_for_other_files(rt: Runtime):
    (rt.rootfs / "other/sys/net/ipv4").mkdir(parents=True)
    (rt.rootfs / "other/sys/net/ipv4/ip_forward").write_text("0")
    with swapping(rt.rootfs / "proc", rt.rootfs / "other"):
        for _ in range(rounds(12)):
            if rt.create("true", linux={"sysctl": {"net.ipv4.ip_forward": "1"}}).code == 0:
                enter = ["nsenter", "--net", "--target", str(rt.state()["pid"]), "cat", "/proc/sys/net/ipv4/ip_forward"]
                assert subprocess.run(enter, capture_output=True, text=True, check=True).stdout == "1\n"
                assert rt.command("delete", "--force", rt.id).code == 0
    for folder in ("proc", "other"):
        file = rt.rootfs / folder / "sys/net/ipv4/ip_forward"
        assert not file.exists() or file.read_text() == "0", "what looks like a setting was written to"


def test_cve_2019_19921_proc_is_swapped_for_a_link(rt: Runtime):
    (rt.rootfs / "link").symlink_to("/tmp")
    with swapping(rt.rootfs / "proc", rt.rootfs / "link"):
        _start(rt, "test -e /proc/self/status && echo real", 12, "real\n")


def test_cve_2021_30465_a_target_is_swapped_for_a_link_to_the_host(rt: Runtime):
    (rt.folder / "data").mkdir()
    (rt.folder / "data/x").write_text("x")
    (rt.rootfs / "target").mkdir()
    (rt.rootfs / "link").symlink_to(rt.folder / "outside")
    bind = {"destination": "/target/below", "source": str(rt.folder / "data"), "options": ["bind"]}
    with swapping(rt.rootfs / "target", rt.rootfs / "link"):
        for _ in range(rounds(12)):
            assert "Traceback" not in rt.run("true", mounts=mounts(bind)).err


def test_cve_2024_21626_the_working_directory_is_swapped(rt: Runtime):
    (rt.rootfs / "work").mkdir()
    (rt.rootfs / "link").symlink_to("/proc/self/fd")
    with swapping(rt.rootfs / "work", rt.rootfs / "link"):
        for _ in range(rounds(12)):
            found = rt.run("pwd -P; ls ../../../../..", process={"cwd": "/work"})
            assert found.code != 0 or not found.out.startswith("(unreachable)"), found
