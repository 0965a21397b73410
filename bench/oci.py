"""The command line runtime beside runc and crun, on one bundle, and beneath containerd."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from bench.measure import Result, command, measure, pss_kib

if TYPE_CHECKING:
    from bench.cases import Peers

OURS = os.path.join(os.path.dirname(sys.executable), "inception-runc")
_serial = itertools.count()
# Ours keeps what it has done by the shape of a configuration, so three cases are measured, each by itself.
KINDS = {
    "again": "the same again",
    "other": "never seen, of a kind that was",
    "first": "first of its kind",
}


class Runtimes:
    """Command lines of ours, runc and crun, each with a root of its own in memory."""

    def __init__(self, peers: Peers) -> None:
        self.peers = peers
        self.bases = {"inception": [OURS, "--root", f"{peers.memory}/oci"]}
        for name in ("runc", "crun"):
            if shutil.which(name):
                self.bases[name] = [name, "--root", f"{peers.memory}/{name}"]
        with open(f"{peers.bundle}/config.json") as file:
            self.spec: dict[str, Any] = json.load(file)

    def configure(self, kind: str = "again", args: tuple[str, ...] = ("/bin/true",)) -> None:
        """Write the configuration of the next container."""
        process = {**self.spec["process"], "args": list(args)}
        annotations = dict(self.spec.get("annotations") or {})
        if kind == "other":
            process["env"] = [*process["env"], f"NUMBER={next(_serial)}"]
            annotations["org.bench.number"] = str(next(_serial))
        if kind == "first":
            annotations[f"org.bench.{next(_serial)}"] = "first"
        with open(f"{self.peers.bundle}/config.json", "w") as file:
            json.dump({**self.spec, "process": process, "annotations": annotations}, file)

    def time(self, who: str, *words: str) -> float:
        """Seconds that one command takes."""
        return self.peers.apart.command(*self.bases[who], *words)()

    def measure(self, name: str, kind: str, once: Callable[[str], float], runs: int) -> Result:
        """*once* of each of them in turn."""
        competitors = {who: (lambda who=who: once(who)) for who in self.bases}
        reach = None if kind == "first" else 1.0
        return measure(f"OCI runtime: {name}, {KINDS[kind]}", competitors, runs=runs, peer="runc", reach=reach, warm=3)

    @contextmanager
    def running(self) -> Iterator[None]:
        """A container of each that sleeps."""
        self.configure(args=("/bin/busybox", "sleep", "600"))
        try:
            for who in self.bases:
                self.time(who, "create", "--bundle", self.peers.bundle, f"bench-{who}")
                self.time(who, "start", f"bench-{who}")
            yield
        finally:
            for who in self.bases:
                self.time(who, "delete", "--force", f"bench-{who}")


def oci_runtime(peers: Peers, runs: int) -> list[Result]:
    """`run`; `create`, `start` and `delete`; `exec` as people type it and as engines do."""
    runtimes = Runtimes(peers)
    pid_file = f"{peers.memory}/pid"

    def run(who: str, kind: str) -> float:
        runtimes.configure(kind)
        return runtimes.time(who, "run", "--bundle", peers.bundle, f"bench-{who}")

    def life(who: str, kind: str) -> float:
        runtimes.configure(kind)
        elapsed_s = runtimes.time(who, "create", "--pid-file", pid_file, "--bundle", peers.bundle, f"bench-{who}")
        with open(pid_file) as file:
            pid = int(file.read())
        elapsed_s += runtimes.time(who, "start", f"bench-{who}")
        while _is_running(pid):
            time.sleep(0.002)
        time.sleep(0.02)  # what ends keeps its cgroups busy for a moment
        return elapsed_s + runtimes.time(who, "delete", f"bench-{who}")

    def exec_(who: str, kind: str) -> float:
        name = f"NAME{next(_serial)}" if kind == "first" else "NAME"
        value = "again" if kind == "again" else str(next(_serial))
        return runtimes.time(who, "exec", "--env", f"{name}={value}", f"bench-{who}", "/bin/true")

    def engine_exec(who: str, kind: str) -> float:
        name = f"NAME{next(_serial)}" if kind == "first" else "NAME"
        value = "again" if kind == "again" else str(next(_serial))
        process = {**runtimes.spec["process"], "env": [f"{name}={value}"], "args": ["/bin/true"]}
        with open(f"{peers.memory}/process.json", "w") as file:
            json.dump(process, file)
        words = ["exec", "--process", f"{peers.memory}/process.json", "--detach", "--pid-file", pid_file, f"bench-{who}"]
        return runtimes.time(who, *words)

    results = []
    for name, once in (("run of a bundle", run), ("create, start and delete", life)):
        results += [runtimes.measure(name, kind, lambda who, kind=kind, once=once: once(who, kind), runs) for kind in KINDS]
    with runtimes.running():
        for name, once in (("exec", exec_), ("exec --process --detach", engine_exec)):
            results += [runtimes.measure(name, kind, lambda who, kind=kind, once=once: once(who, kind), runs) for kind in KINDS]
    return [*results, _waiting(runtimes)]


def _waiting(runtimes: Runtimes) -> Result:
    """PSS of a container's process between `create` and `start`."""
    result = Result(name="OCI runtime: memory of a container that waits for start", unit="KiB", runs=1, peer="runc", reach=1.0)
    runtimes.configure()
    pid_file = f"{runtimes.peers.memory}/pid"
    for who in runtimes.bases:
        runtimes.time(who, "create", "--pid-file", pid_file, "--bundle", runtimes.peers.bundle, f"bench-{who}")
        with open(pid_file) as file:
            result.medians[who] = pss_kib([int(file.read())])
        runtimes.time(who, "delete", "--force", f"bench-{who}")
    return result


def _is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def containerd(peers: Peers, runs: int) -> list[Result]:
    """`ctr run` and `ctr task exec` with ours and with runc beneath the same containerd."""
    if not (shutil.which("containerd") and shutil.which("ctr") and shutil.which("runc")):
        return []
    place = f"{peers.work}/containerd"
    os.makedirs(place)
    with open(f"{place}/config.toml", "w") as file:
        file.write(f'version = 2\nroot = "{place}/root"\nstate = "{peers.memory}/containerd"\n')
        file.write(f'disabled_plugins = ["io.containerd.grpc.v1.cri"]\n[grpc]\naddress = "{place}/sock"\n')
    ctr = ["ctr", "--address", f"{place}/sock"]
    with open(f"{place}/log", "w") as log:
        daemon = subprocess.Popen(["containerd", "--config", f"{place}/config.toml"], stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 30
        while subprocess.run([*ctr, "version"], capture_output=True, check=False).returncode != 0:
            if time.monotonic() > deadline:
                raise RuntimeError(f"containerd does not answer: {place}/log")
            time.sleep(0.1)
        command(*ctr, "images", "import", f"{peers.work}/busybox.tar")()
        listed = subprocess.run([*ctr, "images", "list", "-q"], capture_output=True, text=True, check=True)
        image = listed.stdout.split()[0]
        binaries = {"inception": OURS, "runc": str(shutil.which("runc"))}

        def run(binary: str) -> Callable[[], None]:
            return lambda: command(*ctr, "run", "--rm", "--runc-binary", binary, image, f"bench-{next(_serial)}", "true")()

        def exec_(who: str) -> Callable[[], None]:
            return lambda: command(*ctr, "task", "exec", "--exec-id", f"e{next(_serial)}", f"bench-{who}", "true")()

        runners = {who: run(binary) for who, binary in binaries.items()}
        results = [measure("containerd: ctr run --rm", runners, runs=runs, peer="runc", reach=1.0, warm=3)]
        for who, binary in binaries.items():
            command(*ctr, "run", "--detach", "--runc-binary", binary, image, f"bench-{who}", "sleep", "600")()
        execs = {who: exec_(who) for who in binaries}
        results.append(measure("containerd: ctr task exec", execs, runs=runs, peer="runc", reach=1.0, warm=3))
        for who in binaries:
            command(*ctr, "task", "kill", "--signal", "KILL", f"bench-{who}")()
            command(*ctr, "task", "rm", "--force", f"bench-{who}", check=False)()
            command(*ctr, "containers", "rm", f"bench-{who}", check=False)()
        return results
    finally:
        daemon.terminate()
        daemon.wait(30)
