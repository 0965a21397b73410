"""Real cgroups, in whatever layout the machine has. Each test works below a folder of its own and removes it."""

import os
import signal
import time
from pathlib import Path

import pytest

from inception.linux.bpf import DeviceRule
from inception.linux.cgroup import Cgroups, Write

pytestmark = pytest.mark.needs("root")


@pytest.fixture
def cgroup():
    group = Cgroups.detect().at(f"/itest-{os.getpid()}/one")
    yield group
    group.remove()
    group.cgroups.at(f"/itest-{os.getpid()}").remove()
    assert not group.exists()


def member(plan, work):
    """A child that joins by *plan*, then does *work* in an endless loop of naps; returns its pid."""
    ready, tell = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            files = plan.tasks_files
            if plan.cgroup2_path:
                files.append(f"{plan.cgroup2_path}/cgroup.procs")
            for file in files:
                Path(file).write_text("0")
            os.write(tell, b"1")
            work()
        finally:
            os._exit(1)
    os.close(tell)
    assert os.read(ready, 1) == b"1"
    os.close(ready)
    return pid


def nap():
    while True:
        time.sleep(0.01)


def test_a_member_is_listed_frozen_thawed_and_killed(cgroup):
    pid = member(cgroup.create(), nap)
    assert cgroup.pids() == [pid]
    cgroup.freeze()
    assert cgroup.frozen()
    cgroup.thaw()
    assert not cgroup.frozen()
    cgroup.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_a_frozen_member_can_be_killed(cgroup):
    pid = member(cgroup.create(), nap)
    cgroup.freeze()
    cgroup.kill()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_removal_kills_what_still_runs_and_takes_nested_cgroups_along(cgroup):
    plan = cgroup.create()
    pid = member(plan, nap)
    folder = cgroup.folder(None) or cgroup.folder("freezer")
    os.mkdir(f"{folder}/nested")
    cgroup.remove()
    assert not cgroup.exists()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def test_device_rules_decide_what_a_member_opens(cgroup):
    rules = [DeviceRule(allow=False), DeviceRule(allow=True, type="c", major=1, minor=3)]
    result, tell = os.pipe()

    def work():
        answers = b""
        for path in ("/dev/null", "/dev/zero"):
            try:
                os.close(os.open(path, os.O_RDONLY))
                answers += b"+"
            except PermissionError:
                answers += b"-"
        os.write(tell, answers)

    pid = member(cgroup.create(devices=rules), work)
    os.waitpid(pid, 0)
    assert os.read(result, 2) == b"+-"
    # Replaced in one go: the old rules are gone, the new ones hold.
    cgroup.set_devices([DeviceRule(allow=True, type="c", major=1, minor=5)])
    pid = member(cgroup.create(), work)
    os.waitpid(pid, 0)
    assert os.read(result, 2) == b"-+"
    os.close(result)
    os.close(tell)


def test_a_pids_limit_holds_for_members(cgroup):
    plan = cgroup.create(["pids"])
    cgroup.apply([Write(controller="pids", file="pids.max", value="1")])

    def work():
        try:
            os.fork()
        except BlockingIOError:
            os._exit(42)

    pid = member(plan, work)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 42


def test_a_memory_limit_kills_and_is_counted(cgroup):
    plan = cgroup.create(["memory"])
    v1 = "memory" in cgroup.cgroups.v1
    cgroup.apply([Write(controller="memory", file="memory.limit_in_bytes" if v1 else "memory.max", value=str(16 << 20))])
    assert cgroup.oom_kills() == 0

    def work():
        hoard = []
        while True:
            hoard.append(os.urandom(1 << 20))

    pid = member(plan, work)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert cgroup.oom_kills() == 1
    assert cgroup.stats().oom_kills == 1


def test_stats_count_what_a_member_uses(cgroup):
    def work():
        hoard = os.urandom(8 << 20)
        while hoard:
            pass

    pid = member(cgroup.create(), work)
    time.sleep(0.3)
    stats = cgroup.stats()
    assert stats.cpu_usage_ns > 50_000_000
    assert stats.memory_usage_bytes > 7 << 20  # charged in batches of pages
    assert stats.pids_current == 1
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_making_and_removing_twice_is_once(cgroup):
    first, second = cgroup.create(["pids"]), cgroup.create(["pids"])
    assert first == second
    cgroup.remove()
    cgroup.remove()


def test_a_write_that_fails_names_the_file(cgroup):
    cgroup.create(["pids"])
    with pytest.raises(OSError, match=r"write 'many'.*pids\.max"):
        cgroup.apply([Write(controller="pids", file="pids.max", value="many")])


def test_what_somebody_else_removes_meanwhile_is_gone_in_every_hierarchy(cgroup, monkeypatch):
    """A service manager removes the cgroup of a scope that has ended, too."""
    cgroup.create(list(cgroup.cgroups.v1))
    below = [Path(folder, "below") for folder in cgroup._folders()]
    for folder in below:
        folder.mkdir()
    scandir = os.scandir

    def meanwhile(path):
        Path(path, "below").rmdir()
        os.rmdir(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", meanwhile)
    cgroup.remove()
    assert not cgroup.exists()
