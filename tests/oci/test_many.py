"""What shows in many rounds: programs of the host that stay as they are, joiners that nobody catches, nothing left behind.

RACE_ROUNDS says how many rounds; without it there are few.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.racing import rounds

from .harness import COMMANDS, OURS, Runtime, cgroups_named

pytestmark = pytest.mark.needs("root", "busybox")


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    yield runtime
    runtime.close()
    assert not cgroups_named(f"itest-{os.getpid()}-*")


def _programs() -> dict[str, str]:
    """Every file that a command of ours maps, and its digest."""
    script = "import inception.runtime.cli_process, inception.runtime.create; print(open('/proc/self/maps').read())"
    shown = subprocess.run([Path(OURS).parent / "python", "-c", script], capture_output=True, text=True, check=True).stdout
    paths = {line.split(maxsplit=5)[5] for line in shown.splitlines() if line.count("/") and " /" in line} | {OURS}
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in sorted(paths) if os.path.isfile(path)}


def test_cve_2019_5736_no_program_or_library_of_the_host_changes_while_a_container_writes_to_all_that_it_sees(rt: Runtime):
    before = _programs()
    assert any("libc" in path for path in before) and any("_spawn" in path for path in before)
    write = "for f in /proc/[0-9]*/exe /proc/[0-9]*/map_files/*; do echo x >>$f; done"
    assert rt.create(f"while :; do {write}; done 2>/dev/null").code == 0 and rt.start().code == 0
    running = rt.id
    (rt.rootfs / "bin/own").write_text("#!/proc/self/exe\n")
    (rt.rootfs / "bin/own").chmod(0o755)
    for _ in range(rounds(15)):
        assert rt.command("exec", running, "true").code == 0
        rt.command("exec", running, "/proc/self/exe")
        assert rt.command("exec", running, "own").code != 0
    assert _programs() == before


def test_cve_2016_9962_a_container_that_traces_all_newcomers_catches_none_before_its_program(rt: Runtime):
    source = Path(__file__).with_name("tracer.c")
    subprocess.run(["cc", "-static", "-O1", "-o", str(rt.rootfs / "bin/tracer"), str(source)], check=True)
    assert rt.create(["tracer"]).code == 0 and rt.start().code == 0
    while "ready" not in rt.output():
        pass
    for _ in range(rounds(40)):
        assert rt.command("exec", rt.id, "sleep", "0.01").code in (0, 128 + 19)
    caught = [line.split() for line in rt.output().splitlines() if line != "ready"]
    assert len(caught) > 5, "it must be able to trace what has become the container's own"
    assert {tuple(words[1:]) for words in caught} <= {("sleep", "/bin/busybox"), ("sleep", "?")}


def test_cycles_leave_no_mount_and_nothing_frozen(rt: Runtime):
    def machine() -> list[str]:
        with open("/proc/self/mountinfo") as lines:
            return [line for line in lines if str(rt.folder) in line]

    def frozen() -> list[Path]:
        files = [*Path("/sys/fs/cgroup").rglob("freezer.state"), *Path("/sys/fs/cgroup").rglob("cgroup.freeze")]
        return [
            file
            for file in files
            if f"itest-{os.getpid()}-" in str(file) and file.read_text().strip() in ("FROZEN", "FREEZING", "1")
        ]

    before = machine()
    for turn in range(rounds(12)):
        rt.write({"process": {"args": ["sleep", "60"]}})
        # In the host's own mount namespace, where a mount that got out would stay.
        ours = [*COMMANDS["inception-runc"], "--root", str(rt.root)]
        for words in (["create", rt.id], ["start", rt.id], ["pause", rt.id], *([["resume", rt.id]] if turn % 2 else [])):
            subprocess.run([*ours, *words], cwd=rt.bundle, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        subprocess.run([*ours, "delete", "--force", rt.id], check=True)
        assert machine() == before and not frozen() and not cgroups_named(rt.id)


def test_cve_2024_9676_a_passwd_of_a_gigabyte_takes_no_memory(rt: Runtime):
    for name in ("passwd", "group"):  # one line of nothing, as a file without blocks
        with open(rt.rootfs / "etc" / name, "wb") as file:
            file.truncate(1 << 30)
    limited = ["sh", "-c", 'ulimit -v 200000; exec "$@"', "sh", *COMMANDS["inception-runc"], "--root", str(rt.root)]
    for _ in range(2):
        rt.write({"process": {"args": ["true"]}})
        done = subprocess.run([*limited, "run", rt.id], cwd=rt.bundle, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        assert "Traceback" not in done.stderr and "emory" not in done.stderr, done
        assert done.returncode == 0 or "passwd" in done.stderr, done
