"""Inside the machine whose power is cut: the work that is interrupted, and the judgement afterwards.

The store lies on a disk of its own at /data, everything else in the machine's memory: the registry, archives to load, contexts
to build. `resume` makes a machine that goes on from a saved state a freshly booted one: another boot id, clock and entropy.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

IMAGES = 4
REGISTRY = "127.0.0.1:5000"
#: What the commands import, so that an emulated processor needn't for each.
PRELOAD = [
    "tests.vm.cut_jobs",
    *(f"inception.cli.{name}" for name in ("main", "call", "flags", "commands", "run", "pages")),
    *("inception.engine", "inception.build", "inception.store.pull", "inception.store.archive", "inception.store.verify"),
    *("sqlite3", "hashlib", "subprocess", "tempfile"),
]

_STORE = ("--root", "/data/store", "--run-root", "/run/inception-data")
_RNDADDENTROPY, _RNDRESEEDCRNG = 0x40085203, 0x5207
# Another than the default: a rename over a file syncs nothing by itself, so that what we forgot to sync is lost.
_MOUNT = ("mount", "-o", "noauto_da_alloc,commit=60")


def prepare() -> None:
    """What the work takes: images in a registry and as archives, made with a store in memory; and the disk's first images."""
    _serve_registry()
    _inception("run", "--rm", "--network", "none", "busybox", "true")
    for number in range(IMAGES):
        context = Path(f"/var/tmp/context{number}")
        _write_context(context, number)
        _inception("build", "-q", "--network", "none", "-t", f"app{number}", str(context))
        _inception("tag", f"app{number}", f"{REGISTRY}/app{number}")
        _inception("push", "-q", f"{REGISTRY}/app{number}")
        _inception("tag", f"app{number}", f"loaded{number}")
        _inception("save", "-o", f"/var/tmp/loaded{number}.tar", f"loaded{number}")
    _inception("tag", "app0", "kept")
    _inception("save", "-o", "/var/tmp/base.tar", "kept", "busybox")
    mount()
    _inception("load", "-i", "/var/tmp/base.tar", store=_STORE)
    unmount()


def resume(boot_id: str, entropy: str, now: float) -> None:
    """A new boot, as far as programs can tell."""
    time.clock_settime(time.CLOCK_REALTIME, now)
    data = bytes.fromhex(entropy)
    with open("/dev/urandom", "wb", buffering=0) as file:
        fcntl.ioctl(file, _RNDADDENTROPY, struct.pack("ii", 8 * len(data), len(data)) + data)
        fcntl.ioctl(file, _RNDRESEEDCRNG)
    Path("/run/boot_id").write_text(boot_id + "\n")
    subprocess.run(["mount", "--bind", "/run/boot_id", "/proc/sys/kernel/random/boot_id"], check=True)


def mount(name: str = "store") -> None:
    """The disk with this serial number at /data; its journal is played back."""
    deadline = time.monotonic() + 20
    while not (device := _device(name)):
        if time.monotonic() > deadline:
            raise TimeoutError(f"no disk {name!r} appeared")
        time.sleep(0.02)
    os.makedirs("/data", exist_ok=True)
    subprocess.run([*_MOUNT, device, "/data"], check=True)


def unmount() -> None:
    subprocess.run(["umount", "/data"], check=True)


def check(disk: str, names: dict[str, str], free: str, seed: int) -> None:
    """Prints a line of JSON: what is wrong with the store on *disk*, and the names in it.

    *names* are those that must be there with the images they had; *free* is the one that the cut work was about.
    """
    mount(disk)
    shutil.rmtree("/run/inception-data", ignore_errors=True)  # of a disk that was looked at before, in what counts as one boot
    wrong: list[str] = []
    repaired: list[str] = []
    code, text = _captured("store", "verify")
    if code:
        repaired = text.splitlines()[:-1]
        code, text = _captured("store", "verify", "--repair")
        if code:
            wrong.append(f"verify --repair: {text}")
            code, text = _captured("store", "verify")
        if code:
            wrong.append(f"verify after repair: {text}")
    code, text = _captured("images", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}")
    found = dict(line.split() for line in text.splitlines() if not line.startswith("<none>"))
    if code:
        wrong.append(f"images: {text}")
    wrong += [f"{name}: gone" for name in names if name not in found and name != free]
    wrong += [f"{name}: another image" for name, id in names.items() if id and found.get(name, id) != id and name != free]
    choice = random.Random(seed)
    if free in found or choice.random() < 0.3:
        wrong += _try(free if free in found else choice.choice(sorted(found)))
    code, text = _captured("ps", "-aq", "--no-trunc")
    for id in text.split() if not code else []:
        code, text = _captured("rm", "-f", id)
        if code:
            wrong.append(f"rm -f {id}: {text}")
    if repaired or choice.random() < 0.2:
        code, text = _captured("store", "verify")
        if code:
            wrong.append(f"verify after the runs: {text}")
    print(json.dumps({"wrong": wrong, "repaired": repaired, "names": found}))


def work(kind: str, name: str, number: int) -> int:
    """The commands that are cut. The last one gives *name*, or takes it away."""
    if kind == "pull":
        return _inception("pull", "-q", name, store=_STORE)
    if kind == "load":
        return _inception("load", "-q", "-i", f"/var/tmp/{name.partition(':')[0]}.tar", store=_STORE)
    if kind == "rmi":
        return _inception("rmi", name, store=_STORE)
    if kind == "commit":
        script = (
            "head -c 300000 /dev/urandom >/data; for i in $(seq 50); do echo $i >/file$i; done; sha256sum /data /file* >/sums"
        )
        _inception("run", "--name", f"work{number}", "--network", "none", "busybox", "sh", "-c", script, store=_STORE)
        return _inception("commit", f"work{number}", name, store=_STORE)
    context = Path("/var/tmp/work")
    _write_context(context, number)
    return _inception("build", "-q", "--network", "none", "-t", name, str(context), store=_STORE)


def _try(name: str) -> list[str]:
    """Whether a container of *name* runs and its files are what they were."""
    script = "test ! -e /sums || sha256sum -c -s /sums; test ! -e /sums2 || sha256sum -c -s /sums2"
    code, text = _captured("run", "--rm", "--network", "none", name, "sh", "-ec", script)
    return [f"run {name}: exit {code}: {text}"] if code else []


def _write_context(folder: Path, number: int) -> None:
    """A context of many small files and a large one, with two layers of its own."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "files/deep/er").mkdir(parents=True)
    for index in range(60):
        (folder / "files" / ("deep/er" if index % 3 else ".") / f"file{index}").write_bytes(os.urandom(600 + 40 * index))
    (folder / "files/large").write_bytes(os.urandom(700_000))
    (folder / "Dockerfile").write_text(
        "FROM busybox\n"
        "COPY files /files\n"
        "RUN cd /files && find . -type f | xargs sha256sum | sed 's,  \\./,  /files/,' >/sums\n"
        "RUN head -c 200000 /dev/urandom >/more && mkdir -p /a/b/c\n"
        f"RUN echo {number} >/a/b/c/d && sha256sum /more /a/b/c/d >/sums2\n"
        f"ENV NUMBER={number}\n"
    )


def _serve_registry() -> None:
    config = Path("/var/tmp/registry.yml")
    config.write_text(
        "version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: /var/tmp/registry}}\n"
        f"http: {{addr: '{REGISTRY}'}}\n"
    )
    log = open("/var/tmp/registry.log", "wb")
    subprocess.Popen(["docker-registry", "serve", str(config)], stdout=log, stderr=log, start_new_session=True)
    time.sleep(3)


def _device(name: str) -> str:
    for serial in Path("/sys/block").glob("vd*/serial"):
        if serial.read_text().strip() == name:
            return f"/dev/{serial.parent.name}"
    return ""


def _inception(*words: str, store: tuple[str, ...] = ()) -> int:
    """One command, in a fork. Raises RuntimeError in `prepare`, where nothing may fail."""
    pid = os.fork()
    if pid == 0:
        _become(store, words)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code and not store:
        raise RuntimeError(f"inception {' '.join(words)}: exit {code}")
    return code


def _captured(*words: str) -> tuple[int, str]:
    """One command on the disk's store; exit code and output."""
    output = os.memfd_create("output")
    pid = os.fork()
    if pid == 0:
        os.dup2(output, 1)
        os.dup2(output, 2)
        _become(_STORE, words)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with os.fdopen(output, "rb") as file:
        file.seek(0)
        return code, file.read().decode(errors="replace").strip()


def _become(store: tuple[str, ...], words: tuple[str, ...]) -> None:
    from inception.cli.main import main

    code = 99
    try:
        code = main([*store, *words])
        sys.stdout.flush()
    finally:
        os._exit(code)
