"""The cases, and the peers that they run against. Each competitor does the same work on the same busybox root."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.plugins import compose_plugin

from bench.api import api
from bench.measure import Apart, Result, command, measure, processes, pss_kib
from bench.oci import containerd, oci_runtime

HERE = os.path.dirname(os.path.abspath(__file__))
INCEPTION = os.path.join(os.path.dirname(sys.executable), "inception")
RUNC = os.path.join(os.path.dirname(sys.executable), "inception-runc")


class Peers:
    """Ours and theirs, each with a root of its own below *work*, and what is of this boot only below *memory*, as in /run."""

    def __init__(self, work: str, memory: str) -> None:
        self.work, self.memory = work, memory
        self.root, self.run_root = f"{work}/inception", f"{memory}/run"
        self.ours = [INCEPTION, "--root", self.root, "--run-root", self.run_root]
        self.docker: list[str] = []
        self.podman: list[str] = []
        self.podman_images: list[str] = []  # also where it can't run anything
        self.bundle = f"{work}/bundle"
        self.apart = Apart()

    def start(self) -> None:
        command(*self.ours, "image", "bootstrap", "busybox")()
        archive = f"{self.work}/busybox.tar"
        command(*self.ours, "save", "-o", archive, "busybox")()
        if shutil.which("dockerd") and shutil.which("docker"):
            os.makedirs(f"{self.work}/docker")
            os.makedirs(f"{self.memory}/docker")
            os.symlink(f"{self.memory}/docker", f"{self.work}/docker/exec")
            command(f"{HERE}/dockerd", "start", f"{self.work}/docker")()
            self.docker = ["docker", "-H", f"unix://{self.work}/docker/docker.sock"]
            command(*self.docker, "load", "-i", archive)()
        if shutil.which("podman"):
            # cgroupfs, and limits that need not be raised: what works without systemd and CAP_SYS_RESOURCE.
            ulimits = ["nofile=1024:1024", "nproc=1000:1000"]
            conf = f"{self.work}/containers.conf"
            with open(conf, "w") as file:
                file.write(f'[containers]\ndefault_ulimits = {json.dumps(ulimits)}\n[engine]\ncgroup_manager = "cgroupfs"\n')
            os.environ["CONTAINERS_CONF"] = conf
            base = ["podman", "--root", f"{self.work}/podman", "--runroot", f"{self.memory}/podman"]
            base += ["--tmpdir", f"{self.memory}/podman-tmp", "--events-backend", "file"]
            try:
                command(*base, "load", "-i", archive)()
                self.podman_images = base
                self.podman = self._podman_that_runs(base)
            except RuntimeError as error:
                print(f"podman left out: {error}", file=sys.stderr)
        self._make_bundle()

    @staticmethod
    def _podman_that_runs(base: list[str]) -> list[str]:
        """With its own choice of a runtime, else with runc: crun refuses a hybrid whose v2 hierarchy holds a controller."""
        try:
            command(*base, "run", "--rm", "--network", "none", "busybox", "true")()
            return base
        except RuntimeError:
            base = [*base, "--runtime", "runc"]
            command(*base, "run", "--rm", "--network", "none", "busybox", "true")()
            return base

    def _make_bundle(self) -> None:
        os.makedirs(f"{self.bundle}/rootfs/bin")
        shutil.copy("/bin/busybox", f"{self.bundle}/rootfs/bin/busybox")
        os.symlink("busybox", f"{self.bundle}/rootfs/bin/true")
        for runtime in ("crun", "runc", RUNC):
            if shutil.which(runtime):
                subprocess.run([runtime, "spec"], cwd=self.bundle, check=True)
                break
        else:
            return
        with open(f"{self.bundle}/config.json") as file:
            spec = json.load(file)
        spec["process"].update(terminal=False, args=["/bin/true"])
        spec["process"].pop("rlimits", None)
        with open(f"{self.bundle}/config.json", "w") as file:
            json.dump(spec, file)

    def stop(self) -> None:
        self.apart.close()
        ids = subprocess.run([*self.ours, "ps", "-aq"], capture_output=True, text=True, check=False).stdout.split()
        if ids:
            command(*self.ours, "rm", "-f", *ids, check=False)()
        command(*self.ours, "network", "prune", "-f", check=False)()
        if self.podman:
            command(*self.podman, "rm", "-fa", check=False)()
        if self.docker:
            ids = subprocess.run([*self.docker, "ps", "-aq"], capture_output=True, text=True, check=False).stdout.split()
            if ids:
                command(*self.docker, "rm", "-f", *ids, check=False)()
            command(f"{HERE}/dockerd", "stop", f"{self.work}/docker", check=False)()
        # podman's last store mount
        subprocess.run(["umount", f"{self.work}/podman/overlay"], stderr=subprocess.DEVNULL, check=False)

    def runtime(self, name: str) -> dict[str, Callable[[], None]]:
        """`crun run` or `runc run` of the bundle, if it is installed."""
        if not shutil.which(name):
            return {}
        return {
            name: self.apart.command(name, "--root", f"{self.memory}/{name}", "run", "--bundle", self.bundle, f"bench-{name}")
        }

    def all(self) -> dict[str, list[str]]:
        """How everyone's command line begins."""
        found = {"inception": self.ours, "docker": self.docker, "podman": self.podman_images}
        return {who: base for who, base in found.items() if base}

    def each(self, *words: str, ours: bool = True) -> dict[str, Callable[[], None]]:
        """The same command line on everyone that has Docker's."""
        found = {"inception": command(*self.ours, *words)} if ours else {}
        if self.docker:
            found["docker"] = command(*self.docker, *words)
        if self.podman:
            found["podman"] = command(*self.podman, *words)
        return found


def in_process(peers: Peers, runs: int) -> list[Result]:
    """A container from this very process: start to exit."""
    import inception

    engine = inception.Engine(root=peers.root, run_root=peers.run_root)

    def run(network: str) -> Callable[[], None]:
        def once() -> None:
            with inception.run("busybox", ["true"], network_mode=network, engine=engine) as container:
                if container.wait() != 0:
                    raise RuntimeError("true failed")

        return once

    theirs = {**peers.runtime("crun"), **peers.runtime("runc")}
    return [
        measure("in-process run, no network", {"inception": run("none"), **theirs}, runs=runs * 2, peer="crun", reach=0.5),
        measure("in-process run, bridge", {"inception": run("bridge"), **theirs}, runs=runs, peer="crun"),
    ]


def cli_run(peers: Peers, runs: int) -> list[Result]:
    none = peers.each("run", "--rm", "--network", "none", "busybox", "true")
    bridge = peers.each("run", "--rm", "busybox", "true")
    bridge.pop("podman", None)  # its bridge and packet filter rules would stay on this machine
    return [
        measure("run --rm --network none", none, runs=runs, peer="docker", reach=1 / 3),
        measure("run --rm, bridge", bridge, runs=runs, peer="docker", reach=0.25),
    ]


def cli_exec(peers: Peers, runs: int) -> list[Result]:
    for run in peers.each("run", "-d", "--network", "none", "--name", "bench-exec", "busybox", "sleep", "600").values():
        run()
    try:
        return [measure("exec", peers.each("exec", "bench-exec", "true"), runs=runs, peer="docker", reach=0.5)]
    finally:
        for run in peers.each("rm", "-f", "bench-exec").values():
            run()


def fifty(peers: Peers, runs: int) -> list[Result]:
    """Fifty containers up, then all of them down, each by one command after the other as a script would."""

    def up_and_down(base: list[str]) -> Callable[[], None]:
        names = [f"bench-{i}" for i in range(50)]

        def once() -> None:
            for name in names:
                command(*base, "run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "600")()
            command(*base, "rm", "-f", *names)()

        return once

    competitors = {"inception": up_and_down(peers.ours)}
    if peers.docker:
        competitors["docker"] = up_and_down(peers.docker)
    return [measure("50 containers up and down", competitors, runs=1, warm=0, peer="docker")]


def memory(peers: Peers, runs: int) -> list[Result]:
    """PSS of everything beside ten idle containers, divided by ten."""
    result = Result(name="memory beside an idle container", unit="KiB", runs=1, peer="docker", reach=1.0)
    names = [f"bench-{i}" for i in range(10)]
    for run in [peers.each("run", "-d", "--network", "none", "--name", name, "busybox", "sleep", "600") for name in names]:
        for start in run.values():
            start()
    time.sleep(2)
    docker = f"{peers.work}/docker"
    ours = processes(lambda words: peers.run_root in " ".join(words) and "inception.monitor.process" in words)
    assert len(ours) == len(names), f"{len(ours)} monitors beside {len(names)} containers"
    result.medians["inception"] = pss_kib(ours) / 10
    if peers.docker:
        with open(f"{docker}/dockerd.pid") as file:
            daemons = _tree(int(file.read()))
        theirs = [pid for pid in daemons if _program(pid) in ("dockerd", "containerd", "docker-proxy")]
        theirs += processes(lambda words: words[0].endswith("containerd-shim-runc-v2") and docker in " ".join(words))
        result.medians["docker"] = pss_kib(theirs) / 10
    if peers.podman:
        conmons = processes(lambda words: words[0].endswith("conmon") and peers.work in " ".join(words))
        result.medians["podman"] = pss_kib(conmons) / 10
    for run in peers.each("rm", "-f", *names).values():
        run()
    return [result]


def build(peers: Peers, runs: int) -> list[Result]:
    context = f"{peers.work}/context"
    os.makedirs(f"{context}/files", exist_ok=True)
    for i in range(200):
        with open(f"{context}/files/{i}", "w") as file:
            file.write(f"{i}\n" * 100)
    with open(f"{context}/Dockerfile", "w") as file:
        file.write(
            "FROM busybox\nRUN echo one >/one\nENV A=b\nCOPY files /files\nRUN cat /files/* | wc -l >/two\n"
            'WORKDIR /srv\nRUN ls -l / >/srv/three\nCMD ["cat", "/two"]\n'
        )
    os.environ["DOCKER_BUILDKIT"] = "0"  # buildx is not on this machine; the classic builder is dockerd's own
    fresh = peers.each("build", "--no-cache", "-t", "bench-build", context)
    cached = peers.each("build", "-t", "bench-build", context)
    return [
        measure("build, nothing cached", fresh, runs=max(3, runs // 3), peer="docker", reach=1.0),
        measure("build, all cached", cached, runs=runs, peer="docker", reach=1.0),
    ]


def builds(peers: Peers, runs: int) -> list[Result]:
    """Five stages, and a context of 50,000 files."""
    from bench.builds import builds

    return builds(peers, runs)


def infrastructure(peers: Peers, runs: int) -> list[Result]:
    """`compose up --wait` of the flagship with its images built: ours, and docker compose on dockerd."""
    project = os.path.join(os.path.dirname(HERE), "infrastructure")
    file = f"{project}/srcs/docker-compose.yml"
    secrets = f"{peers.work}/secrets"
    os.makedirs(secrets)
    for name in ("db_root_password", "db_password", "wp_owner_password", "wp_author_password"):
        with open(f"{secrets}/{name}.txt", "w") as out:
            out.write(os.urandom(9).hex())
    names = ["mariadb:1.0", "wordpress:1.0", "nginx:1.0"]
    compose: dict[str, tuple[list[str], dict[str, str]]] = {"inception": ([*peers.ours, "compose"], {})}
    if peers.docker:
        plugins = Path(f"{peers.work}/docker-config/cli-plugins")
        plugins.mkdir(parents=True)
        plugin = compose_plugin(plugins)
        if not (plugins / "docker-compose").exists():
            (plugins / "docker-compose").symlink_to(plugin)
        compose["docker"] = ([*peers.docker, "compose"], {"DOCKER_CONFIG": str(plugins.parent)})
    up, down, prepare = {}, {}, {}
    for port, (who, (words, env)) in enumerate(compose.items(), start=9443):
        data = f"{peers.work}/{who}-data"
        settings = {**env, "SECRETS_PATH": secrets, "DATA_PATH": data, "HTTPS_PORT": str(port)}
        for folder in ("mariadb", "wordpress"):
            os.makedirs(f"{data}/{folder}")
        base = [*words, "-f", file]
        if who == "inception":
            command(*base, "build", env=settings)()
            command(*peers.ours, "save", "-o", f"{peers.work}/images.tar", *names)()
        else:
            command(*peers.docker, "load", "-i", f"{peers.work}/images.tar")()
        up[who] = command(*base, "up", "-d", "--wait", env=settings)
        down[who] = command(*base, "down", env=settings)

        def empty(down: Callable[[], None] = down[who], data: str = data) -> None:
            down()
            for folder in ("mariadb", "wordpress"):
                shutil.rmtree(f"{data}/{folder}")
                os.makedirs(f"{data}/{folder}")

        prepare[who] = empty
    first = measure("compose up, first start", up, runs=3, warm=0, peer="docker", reach=0.5, before=prepare)
    again = measure("compose up, data there", up, runs=3, warm=0, peer="docker", reach=0.5, before=down)
    for stop in down.values():
        stop()
    return [first, again]


def pull(peers: Peers, runs: int) -> list[Result]:
    """An image of eight layers and 500 MB from a registry on loopback: to ready to run, gzip and zstd; again; load, save."""
    with Registry(peers) as registry:
        archive = _big_image(peers)
        results = []
        for form in ("gzip", "zstd"):
            name = f"{registry.host}/bench/big:{form}"
            command(*peers.ours, "load", "-i", archive)()
            command(*peers.ours, "tag", _BIG, name)()
            command(*registry.inside, *peers.ours, "push", "-q", "--compression-format", form, name)()
            # As whoever only pulls: nothing is left of the layers, compressed or not.
            competitors = {who: command(*registry.inside, *run) for who, run in _pulls(peers, name).items()}
            cleaners = {who: _forget(peers, who) for who in competitors}
            few = max(3, runs // 3)
            results.append(
                measure(f"pull 500 MB, {form}", competitors, runs=few, peer="docker", reach=1 / 1.5, before=cleaners, warm=0)
            )
            results.append(measure(f"pull again, {form}", competitors, runs=few, peer="docker", reach=1.0))
            results.append(_pull_memory(peers, registry, name, form, cleaners))
        for forget in cleaners.values():
            forget()
    few = max(3, runs // 3)
    loads = {who: command(*base, "load", "-i", archive) for who, base in peers.all().items()}
    results.append(measure("load 500 MB", loads, runs=few, peer="docker", reach=1.0, before=cleaners, warm=0))
    target = f"{peers.work}/saved.tar"
    saves = {
        who: _in_turn(lambda: _unlink(target), command(*base, "save", "-o", target, _BIG)) for who, base in peers.all().items()
    }
    results.append(measure("save 500 MB", saves, runs=few, peer="docker", reach=1.0))
    for forget in cleaners.values():
        forget()
    return results


def _pull_memory(peers: Peers, registry: Registry, name: str, form: str, cleaners: dict[str, Callable[[], None]]) -> Result:
    """The most that everything of a competitor held at once while it pulled, shared pages divided among those who share."""
    result = Result(name=f"peak memory of pull 500 MB, {form}", unit="KiB", runs=1, peer="docker", reach=1.0)
    for who, words in _pulls(peers, name).items():
        cleaners[who]()
        process = subprocess.Popen([*registry.inside, *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        roots = [process.pid]
        if who == "docker":
            with open(f"{peers.work}/docker/dockerd.pid") as file:
                roots.append(int(file.read()))
        peak = 0
        while process.poll() is None:
            peak = max(peak, pss_kib([pid for root in roots for pid in _tree(root)]))
            time.sleep(0.02)
        if process.returncode:
            result.missing[who] = f"exit code {process.returncode}"
        else:
            result.medians[who] = peak
    return result


_BIG = "bench-big:latest"
_BIG_LAYERS, _BIG_LAYER_BYTES = 8, 500_000_000 // 8


class Registry:
    """Debian's docker-registry on loopback: dockerd's own loopback, when there is one. `inside` starts whatever talks to it."""

    def __init__(self, peers: Peers) -> None:
        self.inside: list[str] = []
        if peers.docker:
            with open(f"{peers.work}/docker/dockerd.pid") as file:
                self.inside = ["nsenter", f"--net=/proc/{file.read().strip()}/ns/net"]
        self.host = "127.0.0.1:5055"
        config = f"{peers.work}/registry.yml"
        with open(config, "w") as file:
            file.write(
                "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
                f"storage: {{filesystem: {{rootdirectory: {peers.work}/registry}}}}\nhttp: {{addr: '{self.host}'}}\n"
            )
        words = [*self.inside, "docker-registry", "serve", config]
        self._process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._process.terminate()
        self._process.wait()


def _big_image(peers: Peers) -> str:
    """A `docker load` archive of eight layers with the files of this machine's /usr: what images are made of."""
    import hashlib
    import tarfile

    path, digests = f"{peers.work}/big.tar", []
    with tarfile.open(path, "w") as archive:
        for number, files in enumerate(_slices()):
            layer = f"{peers.work}/layer.tar"
            with tarfile.open(layer, "w") as tar:
                for file in files:
                    tar.add(file, recursive=False)
            with open(layer, "rb") as data:
                digests.append("sha256:" + hashlib.file_digest(data, "sha256").hexdigest())
            archive.add(layer, f"{number}/layer.tar")
        config = {"architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": digests}}
        manifest = [{"Config": "config.json", "RepoTags": [_BIG], "Layers": [f"{n}/layer.tar" for n in range(len(digests))]}]
        for name, value in (("config.json", config), ("manifest.json", manifest)):
            with open(f"{peers.work}/{name}", "w") as out:
                json.dump(value, out)
            archive.add(f"{peers.work}/{name}", name)
    return path


def _slices() -> list[list[str]]:
    slices: list[list[str]] = [[]]
    size = 0
    for folder, folders, files in os.walk("/usr"):
        folders.sort()
        for name in sorted(files):
            path = f"{folder}/{name}"
            if not os.path.isfile(path) or os.path.islink(path) or os.path.getsize(path) > _BIG_LAYER_BYTES // 2:
                continue
            slices[-1].append(path)
            size += os.path.getsize(path)
            if size >= _BIG_LAYER_BYTES:
                if len(slices) == _BIG_LAYERS:
                    return slices
                slices.append([])
                size = 0
    return slices


def _pulls(peers: Peers, name: str) -> dict[str, list[str]]:
    found = {who: [*base, "pull", "-q", name] for who, base in peers.all().items()}
    if peers.podman_images:
        found["podman"] = [*peers.podman_images, "pull", "-q", "--tls-verify=false", name]
    if shutil.which("skopeo") and shutil.which("umoci"):
        place = f"{peers.work}/umoci"
        copy = f"skopeo --insecure-policy copy -q --src-tls-verify=false docker://{name} oci:{place}/layout:x"
        unpack = f"umoci unpack --image {place}/layout:x {place}/bundle"
        found["skopeo+umoci"] = ["sh", "-c", f"{copy} && {{ [ -d {place}/bundle ] || {unpack}; }} >/dev/null 2>&1"]
    return found


def _forget(peers: Peers, who: str) -> Callable[[], None]:
    """All images but busybox, and what was downloaded for them."""
    if who == "skopeo+umoci":
        place = f"{peers.work}/umoci"
        return command("sh", "-c", f"rm -rf {place} && mkdir -p {place}/layout && sync")
    base = peers.all()[who]

    def clean() -> None:
        listed = subprocess.run([*base, "images", "-q", "--no-trunc"], capture_output=True, text=True, check=True).stdout
        keep = subprocess.run(
            [*base, "images", "-q", "--no-trunc", "busybox"], capture_output=True, text=True, check=True
        ).stdout.split()
        gone = sorted(set(listed.split()) - set(keep))
        if gone:
            command(*base, "rmi", "-f", *gone)()
        os.sync()  # what earlier runs wrote is not written back in the next one's time

    return clean


def _in_turn(*steps: Callable[[], object]) -> Callable[[], None]:
    def run() -> None:
        for step in steps:
            step()

    return run


def _unlink(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)


def thousand(peers: Peers, runs: int) -> list[Result]:
    """`images` with a thousand of them, of one small layer each. Without podman, which needs many minutes to load them."""
    archive = _thousand_images(peers)
    competitors = {who: base for who, base in peers.all().items() if who != "podman"}
    for base in competitors.values():
        command(*base, "load", "-q", "-i", archive)()
    lists = {who: command(*base, "images") for who, base in competitors.items()}
    result = measure("images, 1,000 of them", lists, runs=max(3, runs // 3), peer="docker", reach=0.25)
    for who in competitors:
        _forget(peers, who)()
    return [result]


def _thousand_images(peers: Peers) -> str:
    import hashlib
    import io
    import tarfile

    def add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))

    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        add(tar, "file", b"x")
    diff_id = "sha256:" + hashlib.sha256(layer.getvalue()).hexdigest()
    path, manifest = f"{peers.work}/thousand.tar", []
    with tarfile.open(path, "w") as archive:
        add(archive, "layer.tar", layer.getvalue())
        for number in range(1000):
            config = {"architecture": "amd64", "os": "linux", "config": {"Labels": {"number": str(number)}},
                      "created": f"2026-01-{1 + number % 28:02}T12:{number % 60:02}:07.123456789Z",
                      "rootfs": {"type": "layers", "diff_ids": [diff_id]}}  # fmt: skip
            add(archive, f"{number}.json", json.dumps(config).encode())
            manifest.append({"Config": f"{number}.json", "RepoTags": [f"many:{number}"], "Layers": ["layer.tar"]})
        add(archive, "manifest.json", json.dumps(manifest).encode())
    return path


CASES: dict[str, Callable[[Peers, int], list[Result]]] = {
    "in-process": in_process,
    "oci-runtime": oci_runtime,
    "containerd": containerd,
    "run": cli_run,
    "exec": cli_exec,
    "fifty": fifty,
    "memory": memory,
    "build": build,
    "builds": builds,
    "pull": pull,
    "thousand": thousand,
    "api": api,
    "infrastructure": infrastructure,
}
DEFAULT_CASES = [case for case in CASES if case not in ("infrastructure", "pull", "builds")]


def _tree(pid: int) -> list[int]:
    """*pid* and its descendants."""
    found = [pid]
    for parent in found:
        try:
            for task in os.listdir(f"/proc/{parent}/task"):
                with open(f"/proc/{parent}/task/{task}/children") as file:
                    found += map(int, file.read().split())
        except FileNotFoundError:
            continue
    return found


def _program(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm") as file:
            return file.read().strip()
    except FileNotFoundError:
        return ""
