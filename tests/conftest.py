"""What all tests share: what a test needs of the machine, and that a session leaves nothing behind on it.

A test says `@pytest.mark.needs("root", "nft")`. Where CI=true a missing need is a failure unless it is listed in ALLOWED_SKIPS
with its reason; elsewhere the test is skipped.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests.leftovers import left_behind, leftovers, restore_routing, routing
from tests.plugins import compose_plugin

# Machines that are busy take their time, and that is no failure.
settings.register_profile("inception", deadline=None)
settings.load_profile("inception")

#: Needs that CI's machine may lack, each with its reason.
ALLOWED_SKIPS: dict[str, str] = {
    "cgroup2-controllers": "the machine's controllers sit in v1 hierarchies",
    "systemd": "the machine's init may be another",
    "no-systemd": "the machine's init may be systemd",
    "apparmor": "the machine's kernel may not have it",
    "no-apparmor": "the machine's kernel may have it",
    "no-selinux": "the machine's kernel may have it",
    "criu": "later releases of Debian and Ubuntu may have none",
    "criu-works": "no criu of Debian's may know the machine's kernel",
    "soft-dirty": "not every kernel is built with it",
    "apparmor_parser": "of no use without AppArmor",
    "test-machine": "only in the machine of `make test-vm`",
    "engine-api": "the Engine API's specification may not lie beside the checkout",
    "pid-max-of-namespaces": "since Linux 6.14; before, pid_max is the whole machine's",
    "buildx": "Debian's testing suite may have one that does not run on this release",
}

# Who runs a suite in the background may ignore SIGINT, and children inherit that; here they are to hear it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

BUILDX = Path(__file__).parents[1] / ".venv/plugins/docker-buildx"

#: The machine's, or the one that `tools/criu` has fetched since that doesn't know this kernel; ours is told of it.
CRIU = str(Path(__file__).parents[1] / ".venv/plugins/criu")
if os.path.exists(CRIU):
    os.environ["INCEPTION_CRIU"] = CRIU
else:
    CRIU = "/usr/sbin/criu"


def _mounted(kind: str) -> bool:
    with open("/proc/self/mountinfo") as lines:
        return any(f" - {kind} " in line for line in lines)


def _in_test_machine() -> bool:
    with open("/proc/cmdline") as file:
        return "vm.project=" in file.read()


def _cgroup2_has_memory() -> bool:
    for folder in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified"):
        try:
            with open(f"{folder}/cgroup.controllers") as file:
                return "memory" in file.read().split()
        except FileNotFoundError:
            continue
    return False


def criu_works(*options: str) -> bool:
    """Whether criu knows this kernel."""
    if not os.path.exists(CRIU):
        return False
    # A configuration of the machine's may have it write a log where it is started.
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run([CRIU, "check", *options], capture_output=True, cwd=folder).returncode == 0


NEEDS = {
    "criu-works": functools.cache(criu_works),
    "soft-dirty": functools.cache(lambda: criu_works("--feature", "mem_dirty_track")),
    "disk": lambda: any(not name.startswith(("loop", "ram", "zram")) for name in os.listdir("/sys/block")),
    "buildx": lambda: os.access(BUILDX, os.X_OK),
    "root": lambda: os.geteuid() == 0,
    "cgroup1": lambda: _mounted("cgroup"),
    "cgroup2": lambda: _mounted("cgroup2"),
    "cgroup2-controllers": _cgroup2_has_memory,
    "test-machine": _in_test_machine,
    "pid-max-of-namespaces": lambda: tuple(int(part) for part in os.uname().release.split("-")[0].split(".")[:2]) >= (6, 14),
    "systemd": Path("/run/systemd/private").exists,
    "no-systemd": lambda: not os.path.isdir("/run/systemd/system"),
    "apparmor": Path("/sys/kernel/security/apparmor/profiles").exists,
    "no-apparmor": lambda: not os.path.exists("/sys/kernel/security/apparmor/profiles"),
    "ipv6": Path("/proc/net/if_inet6").exists,
    "no-selinux": lambda: not os.path.exists("/sys/fs/selinux/enforce"),
    "engine-api": (Path(__file__).parents[2] / "shared/specs/engine-api/v1.51.yaml").is_file,
    "oci-schemas": Path("/usr/share/gocode/src/github.com/opencontainers/image-spec/schema").is_dir,
}


def has(need: str) -> bool:
    """Whether the machine has *need*: a key of NEEDS, or the name of a command."""
    check = NEEDS.get(need)
    return check() if check else shutil.which(need, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin") is not None


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        missing = [need for need in mark.args if not has(need)]
        if missing and os.environ.get("CI") == "true" and not set(missing) <= set(ALLOWED_SKIPS):
            pytest.fail(f"this machine lacks {', '.join(missing)}, and CI must not skip it")
        if missing:
            pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="session", autouse=True)
def nothing_is_left_behind(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Fails the session when the machine is not as it was found."""
    if not any("root" in mark.args for item in request.session.items for mark in item.iter_markers("needs")):
        yield  # who may do nothing to the machine leaves nothing on it; what is there is somebody else's
        return
    has_nft = os.geteuid() == 0 and has("nft")
    before, routed = leftovers(has_nft), routing()
    yield
    restore_routing(routed)
    for parent in [*Path("/sys/fs/cgroup").glob("inception"), *Path("/sys/fs/cgroup").glob("*/inception")]:
        try:
            parent.rmdir()  # the folder that all engines of a machine share; another's containers keep it
        except OSError:
            pass
    left = left_behind(before, tmp_path_factory.getbasetemp(), has_nft)
    assert not left, f"the tests left something behind: {left}"


@pytest.fixture(scope="session")
def compose(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Docker's own Compose."""
    return compose_plugin(tmp_path_factory.mktemp("compose"))
