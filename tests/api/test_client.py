"""The engine's interface, the same tests on three: the engine of this process, ours behind its server, and Docker's.

Then our command line and our Compose on an engine elsewhere, by each way to get there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import inception
from inception import ContainerConfig, ExecConfig, NetworkConfig, VolumeConfig
from inception.client.engine import RemoteEngine
from inception.engine.config import CommitConfig, EndpointConfig, MountConfig, PortBinding, UpdateConfig
from inception.errors import Conflict, InvalidArgument, NotFound, NotModified, StartFailed, Unavailable

from .support import Host
from .test_server import make_certificates

pytestmark = pytest.mark.needs("root", "nft", "docker", "dockerd")


@pytest.fixture(params=["here", "served", "docker"])
def engine(request: pytest.FixtureRequest, host: Host) -> Iterator[Any]:
    if request.param == "here":
        with inception.Engine(str(host.root), str(host.run_root)) as engine:
            yield engine
        return
    address = host.address if request.param == "served" else request.getfixturevalue("dockerd").address
    with RemoteEngine(address) as remote:
        yield remote


@pytest.fixture
def box(engine: Any) -> Iterator[Any]:
    config = ContainerConfig(image="bb", command=["sleep", "100"], labels={"a": "b"}, env=["X=1"])
    with engine.containers.create(config) as container:
        container.start()
        yield container


def test_a_container_s_life(engine: Any) -> None:
    config = ContainerConfig(image="bb", name="life", command=["sleep", "100"], stop_timeout_s=0)
    with engine.containers.create(config) as box:
        assert (box.name, box.image, box.state.status, box.labels) == ("life", "bb", "created", {})
        with pytest.raises(Conflict):
            engine.containers.create(config)
        box.start()
        with pytest.raises(NotModified):
            box.start()
        assert box.state.status == "running" and box.status_text.startswith("Up ") and box.state.pid > 0
        box.pause()
        assert box.state.status == "paused"
        box.unpause()
        with pytest.raises(Conflict):
            box.remove()
        box.rename("other")
        assert engine.containers.get("other") == box
        box.kill("KILL")
        assert box.wait() == 137 and box.state.status == "exited"
        box.restart(timeout_s=0)
        with pytest.raises(Unavailable):
            box.wait(timeout_s=0.2)
        box.stop()
        assert box.state.exit_code == 137
    with pytest.raises(NotFound, match="No such container"):
        engine.containers.get("other")


def test_listings_and_filters(engine: Any, box: Any) -> None:
    assert [each.id for each in engine.containers.list()] == [box.id]
    assert engine.containers.list(filters={"label": ["a=b"]}) == [box]
    assert engine.containers.list(filters={"label": ["a=c"]}) == []
    with pytest.raises(InvalidArgument):
        engine.containers.list(filters={"nope": ["1"]})


def test_streams_and_exit_codes(engine: Any) -> None:
    config = ContainerConfig(image="bb", command=["sh", "-c", "cat; echo err >&2; exit 4"], open_stdin=True, stdin_once=True)
    with engine.containers.create(config) as box, box.start_attached() as stream:
        stream.write(b"through")
        stream.close_stdin()
        said = list(stream)
        assert b"".join(data for name, data in said if name == "stdout") == b"through"
        assert b"".join(data for name, data in said if name == "stderr") == b"err\n"
        assert box.settle(stream) == 4
        assert sorted((line.stream, line.data) for line in box.logs()) == [("stderr", b"err\n"), ("stdout", b"through")]
        assert [line.data for line in box.logs(stdout=False)] == [b"err\n"]
        assert all(line.time_ns > 0 for line in box.logs())


def test_exec(engine: Any, box: Any) -> None:
    found = box.exec(["sh", "-c", "cat; echo $X$Y; pwd >&2; exit 3"], env=["Y=2"], working_dir="/tmp", stdin=b"in\n")
    assert (found.exit_code, found.stdout, found.stderr) == (3, b"in\n12\n", b"/tmp\n")
    with pytest.raises(Unavailable):
        box.exec(["sleep", "5"], timeout_s=0.2)
    with box.exec_start(ExecConfig(command=["sh", "-c", "tty; read x; echo $x"], tty=True, open_stdin=True)) as process:
        process.resize(30, 90)
        process.write(b"typed\n")
        assert process.wait() == 0
    box.exec_detached(ExecConfig(command=["touch", "/marked"]))
    assert box.exec(["sh", "-c", "until [ -e /marked ]; do sleep 0.05; done"]).exit_code == 0
    with pytest.raises(Conflict):
        box.stop(timeout_s=0)
        box.exec(["true"])


def test_a_command_that_is_not_there(engine: Any) -> None:
    with engine.containers.create(ContainerConfig(image="bb", command=["nope"])) as box:
        with pytest.raises(StartFailed) as failure:
            box.start()
        assert failure.value.exit_code == 127
    with pytest.raises(NotFound, match="No such image"):
        engine.containers.create(ContainerConfig(image="nope:1"), pull="never")


def test_logs_follow_until_nobody_wants_more(engine: Any) -> None:
    config = ContainerConfig(image="bb", command=["sh", "-c", "while :; do echo x; sleep 0.05; done"])
    with engine.containers.create(config) as box:
        box.start()
        seen: list[bytes] = []
        for line in box.logs(follow=lambda: len(seen) < 5):
            seen.append(line.data)
        assert seen[:5] == [b"x\n"] * 5
        assert len(list(box.logs(tail=2))) == 2


def test_files_in_and_out(engine: Any, box: Any) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        entry = tarfile.TarInfo("f.txt")
        entry.size, entry.mode = 3, 0o640
        tar.addfile(entry, io.BytesIO(b"abc"))
    data.seek(0)
    box.put_archive("/tmp", data)
    found = box.stat_path("/tmp/f.txt")
    assert (found.name, found.size, stat.S_ISREG(found.mode), found.mode & 0o777) == ("f.txt", 3, True, 0o640)
    again, chunks = box.get_archive("/tmp/f.txt")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as tar:
        assert tar.getnames() == ["f.txt"] and again == found
    assert ("A", "/tmp/f.txt") in [(change.kind, change.path) for change in box.diff()]
    assert stat.S_ISDIR(box.stat_path("/tmp").mode)
    with pytest.raises(NotFound):
        box.stat_path("/nope")
    with tarfile.open(fileobj=io.BytesIO(b"".join(box.export()))) as tar:
        assert any(name.removeprefix("./") == "tmp/f.txt" for name in tar.getnames())


def test_what_it_uses_and_its_limits(engine: Any, box: Any) -> None:
    assert box.stats().memory_usage_bytes > 0
    assert next(box.stats_stream()).id == box.id
    assert box.top().processes[0][-1] == "sleep 100"
    box.update(UpdateConfig(memory_bytes=64 << 20, memory_swap_bytes=64 << 20))
    assert box.inspect()["HostConfig"]["Memory"] == 64 << 20
    own, whole = box.size()
    assert whole >= own >= 0


def test_a_configuration_arrives_whole(engine: Any, tmp_path: Path) -> None:
    network = engine.networks.create(NetworkConfig(name="whole", subnet="10.99.7.0/24"))
    volume = engine.volumes.create(VolumeConfig(name="whole", labels={"v": "1"}))
    config = ContainerConfig(
        image="bb",
        command=["sh", "-c", "hostname; id -u; pwd; ls /data /host; stat -c %a /t; ip addr"],
        entrypoint=["env", "Z=1"],
        hostname="h",
        user="1000",
        working_dir="/tmp",
        mounts=[
            MountConfig(type="volume", source="whole", target="/data"),
            MountConfig(type="bind", source=str(tmp_path / "made"), target="/host", read_only=True, create_host_path=True),
            MountConfig(type="tmpfs", target="/t", tmpfs_size_bytes=1 << 20, tmpfs_mode=0o700),
        ],
        network_mode="whole",
        networks={"whole": EndpointConfig(aliases=["al"], ipv4_address="10.99.7.9")},
        ports=[PortBinding(container_port=80, protocol="tcp", host_ip="127.0.0.1")],
        cap_drop=["ALL"],
        read_only=True,
        extra_hosts=["near:1.2.3.4"],
        sysctls={"net.ipv4.ip_unprivileged_port_start": "1"},
        group_add=["7"],
    )
    try:
        with engine.containers.create(config) as box:
            found = box.inspect()
            host, settings = found["HostConfig"], found["NetworkSettings"]
            assert host["Binds"] and host["CapDrop"] == ["ALL"] and host["ReadonlyRootfs"] and host["GroupAdd"] == ["7"]
            assert host["PortBindings"] == {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
            assert settings["Networks"]["whole"]["IPAMConfig"] == {"IPv4Address": "10.99.7.9"}
            assert {mount["Destination"] for mount in found["Mounts"]} >= {"/data", "/host"}
            box.start()
            assert box.wait() == 0
            said = b"".join(line.data for line in box.logs())
            assert said.startswith(b"h\n1000\n/tmp\n") and b"700\n" in said and b"10.99.7.9/24" in said
            assert sorted(mount.type for mount in box.record.mounts if mount.type != "tmpfs") == ["bind", "volume"]
    finally:
        network.remove()
        volume.remove()


def test_networks_and_volumes(engine: Any, box: Any) -> None:
    network = engine.networks.create(NetworkConfig(name="net", internal=True, labels={"k": "v"}))
    try:
        assert (network.labels, network.config.internal) == ({"k": "v"}, True)
        assert engine.networks.list({"label": ["k=v"]}) == [network] == [engine.networks.get(network.id)]
        network.connect(box.name, EndpointConfig(aliases=["al"]))
        assert box.inspect()["NetworkSettings"]["Networks"]["net"]["Aliases"][0] == "al"
        network.disconnect(box.name)
        assert {"bridge", "host", "none"} <= {each.name for each in engine.networks.list()}
    finally:
        network.remove()
    with pytest.raises(NotFound):
        engine.networks.get("net")
    named, nameless = engine.volumes.create(VolumeConfig(name="vol")), engine.volumes.create()
    assert engine.volumes.get("vol") == named and named.users() == [] and named.mountpoint.endswith("/_data")
    assert engine.volumes.prune(all=True).volumes and nameless not in engine.volumes.list()


def test_images(engine: Any, box: Any) -> None:
    made = box.commit(CommitConfig(reference="made:1", message="m", changes=["ENV A=b", "LABEL x=y"]))
    image = engine.images.get("made:1")
    assert image.id == made and "A=b" in image.document.config.env and image.document.config.labels["x"] == "y"
    engine.images.tag("made:1", "again:2")
    assert image.id in [each.id for each in engine.images.list(filters={"reference": ["again"]})]
    assert engine.images.history("made:1")[0].comment == "m"
    archive = b"".join(engine.images.save(["made:1"]))
    removed = engine.images.remove("made:1")
    assert removed[0].untagged == "made:1"
    engine.images.remove("again:2")
    assert "made:1" in engine.images.load(io.BytesIO(archive))
    engine.images.remove("made:1")
    with pytest.raises(NotFound):
        engine.images.inspect("made:1")


def test_events_have_a_history(engine: Any, box: Any) -> None:
    seen = [event.action for event in engine.events.read(since="1m", filters={"container": [box.id]})]
    assert seen[:2] == ["create", "start"]
    assert engine.system.info()["ContainersRunning"] == 1
    assert [row.type for row in engine.system.df()] == ["Images", "Containers", "Local Volumes", "Build Cache"]


# The command line elsewhere


def ours(host: Host, *arguments: str, address: str = "", **options: Any) -> subprocess.CompletedProcess[str]:
    where = ["-H", address or host.address] if address != "-" else []
    command = [sys.executable, "-m", "inception.cli", *where, *arguments]
    options = {"capture_output": True, "text": True, "timeout": 60, **options}
    return subprocess.run(command, check=False, **options)


def test_verbs_on_an_engine_elsewhere(host: Host, tmp_path: Path) -> None:
    done = ours(host, "run", "--rm", "-i", "bb", "sh", "-c", "cat; exit 3", input="in")
    assert (done.returncode, done.stdout) == (3, "in")
    assert ours(host, "run", "-d", "--name", "far", "bb", "sleep", "100").returncode == 0
    assert ours(host, "ps", "--format", "{{.Names}} {{.Image}} {{.State}}").stdout == "far bb running\n"
    (tmp_path / "f").write_text("copied")
    assert ours(host, "cp", str(tmp_path / "f"), "far:/f").returncode == 0
    assert ours(host, "exec", "far", "cat", "/f").stdout == "copied"
    (tmp_path / "Dockerfile").write_text("FROM bb\nCOPY f /g\nRUN cat /g\n")
    (tmp_path / ".dockerignore").write_text("*\n!f\n")
    (tmp_path / "left").write_text("out")
    done = ours(host, "build", "-t", "elsewhere", str(tmp_path))
    assert done.returncode == 0 and "copied" in done.stderr
    assert ours(host, "run", "--rm", "elsewhere", "ls", "/").stdout.split().count("g") == 1
    assert ours(host, "rm", "-f", "far").stdout == "far\n"
    assert ours(host, "rmi", "elsewhere").returncode == 0
    (tmp_path / "Dockerfile").write_text("FROM bb\nRUN exit 5\n")
    done = ours(host, "build", str(tmp_path))
    assert done.returncode == 1 and "non-zero code: 5" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "line", ["run --explain bb true", "ns", "store verify", "image bootstrap busybox", "build --explain .", "serve"]
)
def test_what_needs_the_machine_itself_says_so(host: Host, line: str) -> None:
    done = ours(host, *line.split())
    assert done.returncode != 0 and "not possible on another engine" in done.stderr, done.stderr


def test_an_engine_that_is_not_there(host: Host) -> None:
    done = ours(host, "ps", address="unix:///nope.sock")
    assert done.returncode == 1 and done.stderr.startswith("inception: cannot connect to the engine at unix:///nope.sock")


def test_variables_and_contexts_lead_there_and_a_root_stays_here(host: Host, tmp_path: Path) -> None:
    folder = tmp_path / "contexts/meta" / hashlib.sha256(b"far").hexdigest()
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text(json.dumps({"Name": "far", "Endpoints": {"docker": {"Host": host.address}}}))
    made = host.docker("create", "--name", "seen", "bb")
    line = ("ps", "-aq", "--no-trunc")
    for variables in ({"DOCKER_HOST": host.address}, {"DOCKER_CONTEXT": "far", "DOCKER_CONFIG": str(tmp_path)}):
        assert ours(host, *line, address="-", env={**os.environ, **variables}).stdout.strip() == made
    here = ("--root", str(tmp_path / "r"), "--run-root", str(tmp_path / "rr"))
    assert ours(host, *here, *line, address="-", env={**os.environ, "DOCKER_HOST": host.address}).stdout == ""
    done = ours(host, *here, *line)
    assert done.returncode == 1 and "conflicting options" in done.stderr


def test_over_ssh(host: Host, tmp_path: Path) -> None:
    """With an ssh that logs in to here: what runs over there is `system dial-stdio`."""
    places = f"--root {host.root} --run-root {host.run_root}"
    (tmp_path / "inception").write_text(f'#!/bin/sh\nexec {sys.executable} -m inception.cli {places} "$@"\n')
    (tmp_path / "ssh").write_text('#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\necho "$2" >>"$0.log"\nexec sh -c "$3"\n')
    for name in ("ssh", "inception"):
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = ours(host, "run", "--rm", "-i", "bb", "cat", address="ssh://me@far", input="by ssh", env=environment)
    assert (done.returncode, done.stdout) == (0, "by ssh"), done.stderr
    assert set((tmp_path / "ssh.log").read_text().split()) == {"me@far"}


@pytest.mark.needs("openssl")
def test_over_tls_with_certificates_of_both(tmp_path: Path) -> None:
    make_certificates(tmp_path)
    found = Host(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    files = [f"--tlscacert={tmp_path}/ca.pem", f"--tlscert={tmp_path}/server.pem", f"--tlskey={tmp_path}/server.key"]
    found.start("-H", f"unix://{found.socket}", "-H", f"tcp://127.0.0.1:{port}", "--tlsverify", *files)
    try:
        good = ["--tlsverify", f"--tlscacert={tmp_path}/ca.pem", f"--tlscert={tmp_path}/client.pem"]
        good.append(f"--tlskey={tmp_path}/client.key")
        where = ["-H", f"tcp://127.0.0.1:{port}"]
        assert ours(found, *good, *where, "ps", "-q", address="-").returncode == 0
        done = ours(found, "--tls", *where, "ps", address="-")
        assert done.returncode == 1 and "cannot connect" in done.stderr and "Traceback" not in done.stderr
    finally:
        assert found.stop() == 0


def test_our_compose_on_an_engine_elsewhere(host: Host, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM bb\nRUN echo page >/page\n")
    (tmp_path / "compose.yaml").write_text("""\
name: afar
services:
  web:
    build: .
    command: ["sleep", "100"]
    depends_on: {db: {condition: service_healthy}}
    configs: [{source: greeting, target: /etc/greeting}]
    stop_grace_period: 0s
  db:
    image: bb
    command: ["sh", "-c", "echo ready; touch /ok; sleep 100"]
    healthcheck: {test: ["CMD", "test", "-f", "/ok"], interval: 200ms}
    volumes: ["data:/data"]
    stop_grace_period: 0s
volumes: {data: {}}
configs: {greeting: {content: "hello"}}
""")

    def compose(*arguments: str) -> str:
        done = ours(host, "compose", *arguments, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        compose("up", "-d", "--build", "--wait")
        assert compose("exec", "-T", "web", "cat", "/page", "/etc/greeting") == "page\nhello"
        assert "ready" in compose("logs", "db")
        assert sorted(compose("ps", "--services").split()) == ["db", "web"]
        assert compose("run", "--rm", "-T", "web", "echo", "once") == "once\n"
        compose("up", "-d", "--wait")  # nothing to do
    finally:
        compose("down", "-v", "--rmi", "local")
    assert host.docker("volume", "ls", "-q") == "" and host.docker("ps", "-aq") == ""
