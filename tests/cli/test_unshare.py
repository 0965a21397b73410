"""`inception unshare` beside util-linux's own, with the same options, on the same kernel."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("root", "unshare")
OURS = [sys.executable, "-I", "-m", "inception.cli", "unshare"]
THEIRS = ["unshare"]
# What a container of a runner may lack; both programs are asked alike, so only the comparison matters.
QUIET = {"LC_ALL": "C", "PATH": os.environ["PATH"], "SHELL": "/bin/sh"}


def run(program: list[str], *argv: str) -> tuple[int, str, str]:
    done = subprocess.run([*program, *argv], capture_output=True, text=True, env=QUIET, stdin=subprocess.DEVNULL, check=False)
    return done.returncode, done.stdout, re.sub(r"^(inception|unshare): ", "", done.stderr)


@pytest.mark.parametrize(
    "argv",
    [
        [
            "--user",
            "--pid",
            "--map-root-user",
            "--mount-proc",
            "--fork",
            "sh",
            "-c",
            "id -u; id -g; echo $$; ps -e -o pid,comm",
        ],
        ["-r", "cat", "/proc/self/uid_map", "/proc/self/gid_map", "/proc/self/setgroups"],
        ["-c", "cat", "/proc/self/uid_map"],
        ["--map-user=7", "--map-group=8", "sh", "-c", "id -u; id -g"],
        ["-U", "--setgroups", "deny", "cat", "/proc/self/setgroups"],
        ["-u", "sh", "-c", "hostname elsewhere; hostname"],
        ["-n", "sh", "-c", "cat /proc/net/dev | wc -l"],
        ["-i", "sh", "-c", "ipcs -q | wc -l"],
        ["-m", "sh", "-c", "grep -c shared: /proc/self/mountinfo || true"],
        ["-m", "--propagation", "unchanged", "sh", "-c", "cut -d' ' -f5,7 /proc/self/mountinfo | head -3"],
        ["-C", "cat", "/proc/self/cgroup"],
        ["-T", "--boottime", "1000000", "-f", "sh", "-c", "cut -c1-3 /proc/uptime | grep -c '^10'"],
        ["-m", "--root", "/usr", "--wd", "/bin", "/bin/pwd"],
        ["--kill-child", "-fp", "sh", "-c", "echo $$"],
        ["-f", "sh", "-c", "exit 7"],
        ["sh", "-c", "exit 9"],
        ["-f", "sh", "-c", "kill -TERM $$"],
        ["nope"],
        ["/etc/passwd"],
        ["--root", "/none", "true"],
        ["--wd", "/none", "true"],
        ["--boottime", "5", "true"],
        ["--monotonic", "5", "true"],
        ["--setgroups", "allow", "-r", "true"],
        ["-U", "-c", "--keep-caps", "grep", "CapAmb", "/proc/self/status"],
        ["sh", "-c", "trap '' PIPE; grep SigIgn /proc/self/status"],
    ],
    ids=lambda argv: " ".join(argv)[:60],
)
def test_it_does_and_says_what_util_linux_does(argv):
    ours, theirs = run(OURS, *argv), run(THEIRS, *argv)
    assert ours == theirs


def test_root_maps_ranges_without_asking_subuid():
    ranges = ["--map-users", "0:100000:1000", "--map-groups", "100000,0,1000"]
    assert run(OURS, *ranges, "-S", "5", "-G", "6", "sh", "-c", "id -u; id -g; id -G") == (0, "5\n6\n6\n", "")
    code, text, _ = run(OURS, "-r", *ranges, "cat", "/proc/self/uid_map")
    assert (code, [line.split() for line in text.splitlines()]) == (0, [["0", "0", "1"], ["1", "100000", "999"]])


def test_every_namespace_is_new_when_asked_for_and_the_old_one_when_not():
    kinds = {"-m": "mnt", "-u": "uts", "-i": "ipc", "-n": "net", "-p": "pid_for_children", "-U": "user", "-C": "cgroup"}
    for flag, kind in kinds.items():
        found = run(OURS, flag, "sh", "-c", "for k in mnt uts ipc net user cgroup; do readlink /proc/self/ns/$k; done; "
                                            "readlink /proc/$$/ns/pid_for_children").__getitem__(1).split()  # fmt: skip
        here = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "uts", "ipc", "net", "user", "cgroup", "pid")]
        changed = {line.partition(":")[0] for line, old in zip(found, here, strict=False) if line != old}
        wanted = kind.partition("_")[0]
        assert (wanted in changed) or wanted == "pid", flag
        assert changed <= {wanted}, flag


def test_a_namespace_is_kept_by_a_bind_mount_on_a_file(tmp_path):
    uts, mnt = tmp_path / "uts", tmp_path / "mnt"
    uts.touch()
    mnt.touch()
    # In a mount namespace of the test's own, private as a file that holds a mount namespace must be.
    script = (
        f"mount --bind {tmp_path} {tmp_path} && mount --make-private {tmp_path} && "
        f"{' '.join(OURS)} --uts={uts} --mount={mnt} hostname kept && nsenter --uts={uts} hostname && "
        f"nsenter --mount={mnt} true"
    )
    # On one processor: Linux 6.18 takes a mount namespace that was made on another one for an older one, and refuses it.
    done = subprocess.run(
        ["taskset", "-c", "0", "unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("kept\n", "")


def test_the_child_dies_with_us_when_asked_to():
    process = subprocess.Popen([*OURS, "--kill-child", "-fp", "sleep", "60"])
    child = wait_for_child(process.pid)
    process.kill()
    process.wait()
    for _ in range(200):
        if not Path(f"/proc/{child}").exists() or " Z " in Path(f"/proc/{child}/stat").read_text():
            return
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    pytest.fail("the child outlived us")


def wait_for_child(pid: int) -> int:
    for _ in range(500):
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if children and Path(f"/proc/{children[0]}/comm").read_text() == "sleep\n":
            return int(children[0])
        time.sleep(0.02)
    pytest.fail("no child came")


def test_two_shells_side_by_side_are_each_pid_1_and_ns_shows_both(tmp_path):
    command = [*OURS, "--user", "--pid", "--map-root-user", "--mount-proc", "--fork", "sh", "-c", "ps -e -o pid,comm; sleep 60"]
    shells = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        for shell in shells:
            assert shell.stdout is not None
            seen = [shell.stdout.readline().split() for _ in range(3)]
            assert seen == [["PID", "COMMAND"], ["1", "sh"], ["2", "ps"]]
        ns = [sys.executable, "-I", "-m", "inception.cli", "--root", str(tmp_path), "ns"]
        document = json.loads(subprocess.run([*ns, "--json"], capture_output=True, check=True).stdout)
        boxes = {
            process["parent"]: process["pids"]
            for child in document["children"]
            for process in child["processes"]
            if process["name"] == "sh"
        }
        firsts = [boxes[shell.pid] for shell in shells]
        assert [pids[-1] for pids in firsts] == [1, 1]
        assert firsts[0][0] != firsts[1][0]
        text = subprocess.run(ns, capture_output=True, text=True, check=True).stdout
        for host_pid, own_pid in firsts:
            assert re.search(rf"{host_pid} → +{own_pid} +sh -c ps", text), text
        assert not list(tmp_path.iterdir()), "looking at namespaces made a store"
    finally:
        for shell in shells:
            shell.kill()
            shell.wait()
            assert shell.stdout is not None
            shell.stdout.close()
            for pid in Path("/proc").glob("[0-9]*"):
                try:
                    if f"PPid:\t{shell.pid}\n" in (pid / "status").read_text():
                        os.kill(int(pid.name), signal.SIGKILL)
                except OSError:
                    continue
