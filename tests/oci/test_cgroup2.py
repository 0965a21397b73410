"""`linux.resources` where all controllers are in one hierarchy: what is written where, and what comes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.waiting import wait_until

from .harness import COMMANDS, Runtime, cgroup_folder, cgroups_named

pytestmark = pytest.mark.needs("root", "busybox", "cgroup2-controllers")


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    yield runtime
    runtime.close()
    assert runtime.command("list", "-q").out == ""
    assert not cgroups_named(f"itest-{os.getpid()}-*")


def _files(rt: Runtime, resources: dict, *names: str) -> list[str]:
    """What is in those control files of a container with *resources*."""
    created = rt.create("sleep 60", linux={"resources": resources})
    assert created.code == 0, created
    return [(cgroup_folder(rt.id, "") / name).read_text().strip() for name in names]


_MADE_UP = ("loop", "ram", "zram")


def _disk() -> tuple[str, int, int]:
    name = next(device for device in sorted(os.listdir("/sys/block")) if not device.startswith(_MADE_UP))
    major, minor = Path("/sys/block", name, "dev").read_text().strip().split(":")
    return f"{major}:{minor}", int(major), int(minor)


def test_cpu(rt: Runtime):
    cpu = {"shares": 1024, "quota": 20000, "period": 100000, "burst": 5000, "cpus": "0", "mems": "0"}
    names = ("cpu.weight", "cpu.max", "cpu.max.burst", "cpuset.cpus", "cpuset.mems")
    assert _files(rt, {"cpu": cpu}, *names) == ["100", "20000 100000", "5000", "0", "0"]
    assert _files(rt, {"cpu": {"idle": 1, "shares": 512}}, "cpu.idle") == ["1"]
    assert _files(rt, {"cpu": {"quota": -1}}, "cpu.max") == ["max 100000"]


def test_memory_with_swap_counted_apart(rt: Runtime):
    memory = {"limit": 64 << 20, "swap": 80 << 20, "reservation": 32 << 20}
    names = ("memory.max", "memory.swap.max", "memory.low")
    assert _files(rt, {"memory": memory}, *names) == [str(64 << 20), str(16 << 20), str(32 << 20)]
    assert _files(rt, {"memory": {"limit": 64 << 20, "swap": -1}}, *names[:2]) == [str(64 << 20), "max"]
    assert _files(rt, {"memory": {"limit": 64 << 20, "swap": 64 << 20}}, *names[:2]) == [str(64 << 20), "0"]
    assert _files(rt, {"memory": {"limit": -1}}, names[0]) == ["max"]


def test_memory_that_v2_has_no_word_for_is_refused(rt: Runtime):
    for memory, word in (({"disableOOMKiller": True}, "disableOOMKiller"), ({"swap": 1 << 20}, "memory.swap")):
        refused = rt.create("sleep 60", linux={"resources": {"memory": memory}})
        assert refused.code == 1 and word in refused.err, refused


@pytest.mark.needs("disk")
def test_block_io(rt: Runtime):
    name, major, minor = _disk()
    device = {"major": major, "minor": minor}
    block = {
        "throttleReadBpsDevice": [{**device, "rate": 1 << 20}],
        "throttleWriteBpsDevice": [{**device, "rate": 2 << 20}],
        "throttleReadIOPSDevice": [{**device, "rate": 100}],
        "throttleWriteIOPSDevice": [{**device, "rate": 200}],
    }
    assert _files(rt, {"blockIO": block}, "io.max") == [f"{name} rbps={1 << 20} wbps={2 << 20} riops=100 wiops=200"]
    created = rt.create("sleep 60", linux={"resources": {"blockIO": {"weight": 500}}})
    assert created.code == 0, created
    folder = cgroup_folder(rt.id, "")
    found = {path.name: path.read_text().split()[:2] for path in folder.glob("io*weight")}
    assert found.get("io.bfq.weight") == ["default", "500"] or found.get("io.weight") == ["default", "4950"], found


def test_hugetlb_pids_and_unified(rt: Runtime):
    assert _files(rt, {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 << 20}]}, "hugetlb.2MB.max") == [str(4 << 20)]
    assert _files(rt, {"pids": {"limit": 7}}, "pids.max") == ["7"]
    unified = {"memory.high": str(48 << 20), "memory.oom.group": "1", "cpu.weight": "77"}
    assert _files(rt, {"unified": unified, "memory": {"limit": 64 << 20}}, *unified) == list(unified.values())


def test_rdma_reaches_the_controller(rt: Runtime):
    refused = rt.create("sleep 60", linux={"resources": {"rdma": {"none0": {"hcaHandles": 3}}}})
    assert refused.code == 1 and "rdma.max" in refused.err, refused  # the kernel knows no such device


def test_unified_files_are_only_the_cgroups_own(rt: Runtime):
    for name in ("../memory.max", "memory/max", "cgroup.procs", "nothing.max"):
        refused = rt.create("sleep 60", linux={"resources": {"unified": {name: "1"}}})
        assert refused.code == 1 and name in refused.err, refused


def test_update_changes_each_limit(rt: Runtime):
    assert rt.create("sleep 60", linux={"resources": {"memory": {"limit": 64 << 20, "swap": 96 << 20}}}).code == 0
    assert rt.start().code == 0
    folder = cgroup_folder(rt.id, "")
    options = ("--memory", "128m", "--memory-swap", "192m", "--cpu-quota", "30000", "--cpu-period", "60000", "--cpu-share", "2")
    updated = rt.command("update", *options, "--pids-limit", "12", "--cpuset-cpus", "0", rt.id)
    assert updated.code == 0, updated
    names = ("memory.max", "memory.swap.max", "cpu.max", "cpu.weight", "pids.max", "cpuset.cpus")
    found = [(folder / name).read_text().strip() for name in names]
    assert found == [str(128 << 20), str(64 << 20), "30000 60000", "1", "12", "0"]
    assert rt.command("update", "--cpu-quota", "45000", rt.id).code == 0
    assert (folder / "cpu.max").read_text() == "45000 60000\n", "the period stays"
    assert rt.command("update", "--memory", "64m", rt.id).code == 0
    assert (folder / "memory.max").read_text() == f"{64 << 20}\n"
    assert (folder / "memory.swap.max").read_text() == f"{128 << 20}\n", "the sum stays"


def test_new_device_rules_replace_the_old_ones(rt: Runtime):
    allow = {"allow": True, "type": "c", "major": 1, "minor": 11, "access": "rwm"}
    rules = [{"allow": False, "access": "rwm"}, allow]
    script = "mknod /tmp/k c 1 11; while :; do if head -c0 /tmp/k 2>/dev/null; then echo y; else echo n; fi; sleep 0.05; done"
    assert rt.create(script, linux={"resources": {"devices": rules}}).code == 0 and rt.start().code == 0
    wait_until(lambda: rt.output().endswith("y\n"))
    (rt.folder / "r.json").write_text(json.dumps({"devices": rules[:1]}))
    updated = rt.command("update", "--resources", str(rt.folder / "r.json"), rt.id)
    assert updated.code == 0, updated
    wait_until(lambda: rt.output().endswith("n\n"))


def test_pause_stops_and_kill_ends_every_process_of_a_nested_cgroup(rt: Runtime):
    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}
    from .harness import mounts, namespaces

    script = "mkdir /sys/fs/cgroup/a && (sh -c 'echo $$ >/sys/fs/cgroup/a/cgroup.procs; while :; do echo x; sleep 0.02; done')"
    assert rt.create(script, mounts=mounts(mount), linux={"namespaces": namespaces("cgroup")}).code == 0
    assert rt.start().code == 0
    wait_until(lambda: rt.output().count("x") > 2)
    assert rt.command("pause", rt.id).code == 0
    assert "frozen 1" in (cgroup_folder(rt.id, "") / "a/cgroup.events").read_text()
    assert rt.command("resume", rt.id).code == 0
    assert len(json.loads(rt.command("ps", "--format", "json", rt.id).out)) >= 2
    assert rt.command("kill", "--all", rt.id, "KILL").code == 0
    rt.wait("stopped")
    assert rt.command("delete", rt.id).code == 0
    assert not cgroup_folder(rt.id, "").exists()


def test_controllers_are_there_for_whoever_manages_cgroups_inside(rt: Runtime):
    from .harness import mounts, namespaces

    mount = {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}
    script = """
        cd /sys/fs/cgroup; cat cgroup.controllers; mkdir init child
        for p in $(cat cgroup.procs); do echo $p >init/cgroup.procs; done
        echo '+memory +pids' >cgroup.subtree_control && echo 33554432 >child/memory.max && cat child/memory.max
        echo 1 >memory.max; echo $?
    """
    found = rt.run(script, mounts=mounts(mount), linux={"namespaces": namespaces("cgroup")})
    lines = found.out.split("\n")
    assert {"cpu", "cpuset", "io", "memory", "pids"} <= set(lines[0].split()), found
    assert lines[1] == "33554432", found
    assert lines[2] == "1", "its own limit is its parent's business (nsdelegate)"


def test_a_cgroup_that_was_delegated_is_enough(rt: Runtime):
    """Ours is below a folder that is already there, with the controllers that its owner hands down."""
    outer = Path(f"/sys/fs/cgroup/itest-{os.getpid()}-outer")
    outer.mkdir()
    try:
        path = f"/{outer.name}/a/b"
        created = rt.create("sleep 60", linux={"cgroupsPath": path, "resources": {"memory": {"limit": 64 << 20}}})
        assert created.code == 0, created
        assert Path(f"/sys/fs/cgroup{path}/memory.max").read_text() == f"{64 << 20}\n"
        assert rt.command("delete", "--force", rt.id).code == 0
        assert not Path(f"/sys/fs/cgroup{path}").exists()
    finally:
        for folder in (outer / "a", outer):
            if folder.exists():
                folder.rmdir()


def test_stats_have_what_v2_counts(rt: Runtime):
    assert rt.create("dd if=/dev/zero of=/tmp/x bs=1M count=8 2>/dev/null; sleep 60").code == 0 and rt.start().code == 0
    time.sleep(0.5)
    event = json.loads(rt.command("events", "--stats", rt.id).out)
    data = event["data"]
    assert data["cpu"]["usage"]["total"] > 0 and data["memory"]["usage"]["usage"] > 1 << 20
    assert data["memory"]["raw"]["anon"] >= 0 and data["pids"]["current"] >= 1
    assert data["memory"]["usage"]["limit"] > 1 << 40, "none"
    assert "2MB" in data["hugetlb"] and data["memory"]["swap"]["limit"] > 0


def test_a_container_without_memory_is_killed_and_reported(rt: Runtime):
    hoard = "x=a; while :; do x=$x$x; done"
    limits = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    assert rt.create(f"sh -c '{hoard}'; echo $?; sleep 5", linux={"resources": limits}).code == 0
    argv = [*COMMANDS["inception-runc"], "--root", str(rt.root), "events", "--interval", "100s", rt.id]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as events:
        assert events.stdout
        time.sleep(1.5 if os.path.exists("/dev/vport0p1") else 0.3)
        assert rt.start().code == 0
        line = json.loads(events.stdout.readline())
        while line["type"] != "oom":
            line = json.loads(events.stdout.readline())
        events.send_signal(signal.SIGTERM)
    assert line["id"] == rt.id
    assert "oom_kill 1" in (cgroup_folder(rt.id, "") / "memory.events").read_text()
