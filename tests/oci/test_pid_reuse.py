"""Process ids that come round: in a pid namespace with a few hundred of them, a stranger gets the pid of a container's init."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from .harness import COMMANDS, Runtime

pytestmark = pytest.mark.needs("root", "busybox", "pid-max-of-namespaces")
_PID_MAX = 600

# Runs as process 1 of a namespace of its own; since Linux 6.14 pid_max is a namespace's.
_SCRIPT = """
import json, os, signal, subprocess, sys
command, id, pid_max = json.loads(sys.argv[1]), sys.argv[2], sys.argv[3]
with open("/proc/sys/kernel/pid_max", "w") as file:
    file.write(pid_max)

def pass_by():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return pid

def runtime(*words):  # a file, since a container keeps what it was given
    with open("out", "w+") as out:
        done = subprocess.run([*command, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        out.seek(0)
        done.stdout = out.read()
    return done

while pass_by() < 310:
    pass
assert (made := runtime("run", "--detach", id)).returncode == 0, made
pid = json.loads(runtime("state", id).stdout)["pid"]
os.kill(pid, signal.SIGKILL)
while True:
    try:
        if os.waitpid(-1, 0)[0] == pid:
            break
    except ChildProcessError:
        break
while True:
    stranger = os.fork()
    if stranger == 0:
        signal.pause()
        os._exit(0)
    if stranger == pid:
        break
    os.kill(stranger, signal.SIGKILL)
    os.waitpid(stranger, 0)
assert json.loads(runtime("state", id).stdout)["status"] == "stopped"
for line in ("kill ID KILL", "kill --all ID KILL", "exec ID true", "pause ID", "delete --force ID"):
    found = runtime(*line.replace("ID", id).split())
    assert "Traceback" not in found.stdout, found
assert runtime("state", id).returncode == 1
assert os.waitpid(stranger, os.WNOHANG) == (0, 0), "the stranger was killed"
os.kill(stranger, signal.SIGKILL)
print("ok")
"""


def test_a_stranger_with_the_pid_of_an_init_that_has_ended_is_left_alone(tmp_path: Path):
    runtime = Runtime("inception-runc", tmp_path)
    try:
        id = runtime.write({"process": {"args": ["sleep", "1000"]}})
        command = json.dumps([*COMMANDS["inception-runc"], "--root", str(runtime.root)])
        inner = [sys.executable, "-c", _SCRIPT, command, id, str(_PID_MAX)]
        argv = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--kill-child", *inner]
        done = subprocess.run(argv, cwd=runtime.bundle, capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout == "ok\n", done
    finally:
        runtime.close()
