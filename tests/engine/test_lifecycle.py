"""Containers on the kernel as it is: life, output, exec, files, limits, and errors in Docker's words."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import threading
import time
from pathlib import Path

import pytest
from tests.waiting import wait_until

import inception
from inception import (
    Conflict,
    ContainerConfig,
    Engine,
    ExecConfig,
    InvalidArgument,
    MountConfig,
    NetworkConfig,
    NotFound,
    NotModified,
    PortBinding,
    ResourceConfig,
    RestartPolicy,
    StartFailed,
    Unavailable,
    VolumeConfig,
)
from inception.engine.config import CommitConfig, DeviceLimit, UpdateConfig
from inception.oci.image import Healthcheck

from .conftest import findings, make

pytestmark = pytest.mark.needs("root", "nft")


def test_a_container_in_this_process_says_what_it_is_asked_and_is_gone_after_the_block(engine: Engine) -> None:
    with engine.containers.run("busybox", ["sh", "-c", "echo out; echo err >&2; exit 3"], network_mode="none") as container:
        assert container.wait() == 3
        assert [(line.stream, line.data) for line in container.logs()] == [("stdout", b"out\n"), ("stderr", b"err\n")]
        assert container.state.exit_code == 3
    with pytest.raises(NotFound, match="No such container"):
        engine.containers.get(container.id)
    assert findings(engine) == []


def test_run_is_a_function_of_the_package(engine: Engine) -> None:
    with inception.run("busybox", ["sleep", "60"], engine=engine, network_mode="none") as container:
        result = container.exec(["sh", "-c", "id -u; echo no >&2; exit 4"])
    assert (result.exit_code, result.stdout, result.stderr) == (4, b"0\n", b"no\n")


def test_exec_goes_where_init_is_once_the_container_hands_its_controllers_on(engine: Engine) -> None:
    """As a service manager makes its cgroup do; no process may be in that one any more."""
    with engine.containers.run("busybox", ["sleep", "60"], network_mode="none") as container:
        folder = engine.cgroups.at(f"/inception/{container.id}").folder(None)
        if folder is None or not (controllers := Path(folder, "cgroup.controllers").read_text().split()):
            return  # there is nothing to hand on
        below = Path(folder, "init.scope")
        below.mkdir()
        (below / "cgroup.procs").write_text(str(container.state.pid))
        Path(folder, "cgroup.subtree_control").write_text(f"+{controllers[0]}")
        found = container.exec(["grep", "^0::", "/proc/self/cgroup"])
        assert found.exit_code == 0 and found.stdout.endswith(b"/init.scope\n"), found


def test_a_container_that_goes_at_its_end_does_not_go_when_it_is_restarted(engine: Engine) -> None:
    container = make(engine, "sh", "-c", "echo said >>/said; sleep 60", stop_signal="KILL", auto_remove=True)
    container.start()
    container.restart(timeout_s=0)
    assert container.exec(["cat", "/said"]).stdout == b"said\nsaid\n"
    container.stop(timeout_s=0)
    with pytest.raises(NotFound):
        engine.containers.get(container.id)


def test_create_start_stop_start_remove(engine: Engine) -> None:
    container = make(engine, "sleep", "60", name="life", stop_signal="KILL")
    assert container.state.status == "created"
    container.start()
    assert container.state.status == "running"
    with pytest.raises(NotModified, match="already running"):
        container.start()
    with pytest.raises(Conflict, match="stop the container before removing or force remove"):
        container.remove()
    container.stop()
    assert (container.state.status, container.state.exit_code) == ("exited", 137)
    with pytest.raises(NotModified):
        container.stop()
    container.start()
    container.restart(timeout_s=0)
    assert container.state.status == "running"
    container.remove(force=True)
    assert findings(engine) == []


def test_a_name_in_use_is_docker_s_conflict(engine: Engine) -> None:
    first = make(engine, "true", name="taken")
    with pytest.raises(Conflict) as caught:
        make(engine, "true", name="taken")
    assert str(caught.value) == (
        f'Conflict. The container name "/taken" is already in use by container "{first.id}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


@pytest.mark.parametrize(
    ("command", "exit_code", "words"),
    [
        (["nope"], 127, 'exec: "nope": executable file not found in $PATH'),
        (["/etc/passwd"], 126, "permission denied"),
        (["/nope"], 127, "no such file or directory"),
    ],
)
def test_a_command_that_can_t_run_fails_the_start_and_leaves_nothing(
    engine: Engine, command: list[str], exit_code: int, words: str
) -> None:
    container = make(engine, *command)
    with pytest.raises(StartFailed, match=words.replace("$", r"\$")) as caught:
        container.start()
    assert caught.value.exit_code == exit_code
    assert container.state.status == "created"
    assert words in container.state.error
    assert findings(engine) == []


def test_output_of_an_attached_start_is_whole(engine: Engine) -> None:
    container = make(engine, "sh", "-c", "seq 20000; exit 7")
    stream = container.start_attached()
    said = b"".join(data for _, data in stream)
    assert said == b"".join(b"%d\n" % number for number in range(1, 20001))
    assert container.wait() == 7


def test_stdin_reaches_the_process_and_its_end_too(engine: Engine) -> None:
    container = make(engine, "cat", open_stdin=True, stdin_once=True)
    stream = container.start_attached()
    stream.write(b"hello")
    stream.close_stdin()
    assert b"".join(data for _, data in stream) == b"hello"
    assert container.wait() == 0


def test_a_terminal_has_the_size_it_is_given(engine: Engine) -> None:
    container = make(engine, "sh", "-c", "read line; stty size", tty=True, open_stdin=True)
    stream = container.start_attached()
    stream.resize(33, 77)
    stream.write(b"\n")
    assert b"33 77" in b"".join(data for _, data in stream)


def test_an_exec_is_told_from_its_making_to_its_end(engine: Engine) -> None:
    container = make(engine, "sleep", "60", name="box")
    container.start()
    began = f"{time.time():.9f}"
    assert container.exec(["sh", "-c", "exit 3"]).exit_code == 3
    with pytest.raises(StartFailed, match="unable to find user nosuch: no matching entries in passwd file") as refused:
        container.exec(["id"], user="nosuch")
    assert refused.value.exit_code == 126
    events = [
        event for event in engine.events.read(since=began, until=f"{time.time():.9f}") if event.action.startswith("exec_")
    ]
    actions = ["exec_create: sh -c exit 3", "exec_start: sh -c exit 3", "exec_die", "exec_create: id"]
    assert [event.action for event in events] == actions
    assert len({event.attributes["execID"] for event in events}) == 2
    assert events[2].attributes["exitCode"] == "3"


def test_exec_takes_input_a_user_a_folder_and_a_terminal(engine: Engine) -> None:
    container = make(engine, "sleep", "60", env=["OWN=1"])
    container.start()
    data = os.urandom(300_000)
    assert container.exec(["cat"], stdin=data).stdout == data
    result = container.exec(["sh", "-c", "id -u; pwd; echo $OWN $MORE"], user="1000:1000", working_dir="/tmp", env=["MORE=2"])
    assert result.output == b"1000\n/tmp\n1 2\n"
    assert container.exec(["tty"], tty=True).output == b"/dev/pts/0\r\n"
    container.exec_detached(ExecConfig(command=["sh", "-c", "echo done > /tmp/detached"]))
    wait_until(lambda: container.exec(["cat", "/tmp/detached"]).stdout == b"done\n")
    with pytest.raises(StartFailed) as caught:
        container.exec(["nope"])
    assert caught.value.exit_code == 127


def test_pause_stops_everything_and_unpause_lets_it_go_on(engine: Engine) -> None:
    container = make(engine, "sh", "-c", "while true; do date > /tmp/now; done")
    container.start()
    container.pause()
    assert container.state.status == "paused"
    with pytest.raises(Conflict, match="is paused, unpause the container before exec"):
        container.exec(["true"])
    container.unpause()
    assert container.exec(["true"]).exit_code == 0
    container.pause()
    container.stop(timeout_s=0)
    assert container.state.status == "exited"


def test_restart_policies(engine: Engine) -> None:
    container = make(engine, "sh", "-c", "exit 5", restart=RestartPolicy(name="on-failure", maximum_retries=2))
    container.start()
    assert container.wait() == 5
    assert container.state.restart_count == 2
    again = make(engine, "sleep", "60", restart=RestartPolicy(name="always"))
    again.start()
    first = again.state.pid
    os.kill(first, 9)
    wait_until(lambda: again.state.pid not in (0, first))
    again.update(UpdateConfig(restart=RestartPolicy(name="no")))
    again.kill()
    assert again.wait() == 137


def test_health_is_asked_inside_and_shown(engine: Engine) -> None:
    check = Healthcheck(test=["CMD-SHELL", "test -e /tmp/well"], interval=50_000_000, retries=1)
    container = make(engine, "sleep", "60", healthcheck=check)
    container.start()
    wait_until(lambda: container.state.health.status == "unhealthy")
    container.exec(["touch", "/tmp/well"])
    wait_until(lambda: container.state.health.status == "healthy")
    assert container.status_text.endswith("(healthy)")
    assert container.inspect()["State"]["Health"]["Log"][-1]["ExitCode"] == 0


def test_what_a_health_check_tells_meanwhile_makes_no_wait_longer(engine: Engine) -> None:
    """Each probe began the time anew, so that with one every second nothing that ignores TERM was ever killed."""
    check = Healthcheck(test=["CMD", "true"], interval=100_000_000)
    container = make(engine, "sh", "-c", "trap '' TERM; sleep 20; exit 3", healthcheck=check)
    container.start()
    with pytest.raises(Unavailable):
        container.wait(timeout_s=0.5)
    container.stop(timeout_s=0.5)
    assert container.state.exit_code == 137


def test_names_and_published_ports_work_when_start_returns(engine: Engine) -> None:
    engine.networks.create(NetworkConfig(name="net"))
    server = make(
        engine,
        *("sh", "-c", "while true; do echo hello | nc -l -p 80; done"),
        name="server",
        network_mode="net",
        ports=[PortBinding(container_port=80)],
    )
    server.start()
    (port,) = server.port("80")
    wait_until(lambda: _ask(port.host_port) == b"hello\n")
    client = make(engine, "sleep", "60", network_mode="net")
    client.start()
    assert client.exec(["ping", "-c", "1", "-W", "2", "server"]).exit_code == 0
    server.rename("renamed")
    assert client.exec(["ping", "-c", "1", "-W", "2", "renamed"]).exit_code == 0
    assert client.exec(["nslookup", "server"]).exit_code != 0
    with pytest.raises(Conflict, match="port is already allocated"):
        make(engine, "true", network_mode="bridge", ports=[PortBinding(container_port=1, host_port=port.host_port)]).start()
    with pytest.raises(Conflict, match="has active endpoints"):
        engine.networks.get("net").remove()
    engine.networks.get("net").disconnect("renamed")
    assert client.exec(["nslookup", "renamed"]).exit_code != 0
    assert findings(engine) == []


def test_a_volume_gets_the_image_s_files_and_a_bound_one_keeps_its_data_on_the_host(engine: Engine, tmp_path: Path) -> None:
    engine.volumes.create(VolumeConfig(name="bound", driver_options={"type": "none", "o": "bind", "device": str(tmp_path)}))
    mounts = [
        MountConfig(type="volume", source="plain", target="/etc"),
        MountConfig(type="volume", source="bound", target="/data"),
    ]
    container = make(engine, "sh", "-c", "echo kept > /data/file; cat /etc/passwd", mounts=mounts)
    container.start()
    assert container.wait() == 0
    assert (tmp_path / "file").read_text() == "kept\n"
    assert b"".join(line.data for line in container.logs()).startswith(b"root:")
    with pytest.raises(Conflict, match="volume is in use"):
        engine.volumes.get("plain").remove()
    container.remove(volumes=True)
    assert [volume.name for volume in engine.volumes.list()] == ["bound", "plain"]


@pytest.mark.parametrize("running", [False, True])
def test_files_are_copied_in_and_out_through_the_container_s_mounts(engine: Engine, tmp_path: Path, running: bool) -> None:
    mounts = [MountConfig(type="bind", source=str(tmp_path), target="/data")]
    container = make(engine, "sleep", "60", mounts=mounts)
    if running:
        container.start()
    container.put_archive("/data", _tar("in", b"in"))
    container.put_archive("/tmp", _tar("link", b"", link="/etc"))
    container.put_archive("/tmp/link", _tar("through", b"link"))
    assert (tmp_path / "in").read_bytes() == b"in"
    found, stream = container.get_archive("/etc/through")
    assert (found.name, found.size) == ("through", 4)
    with tarfile.open(fileobj=io.BytesIO(b"".join(stream))) as archive:
        assert archive.getnames() == ["through"]
    assert not os.path.exists("/etc/through")
    assert container.stat_path("/tmp/link").link_target == "/etc"
    with pytest.raises(NotFound, match="Could not find the file /nope in container"):
        container.get_archive("/nope")
    assert findings(engine) == []


def test_commit_and_diff_see_what_changed(engine: Engine) -> None:
    container = make(engine, "sh", "-c", "echo new > /new; rm /etc/group")
    container.start()
    container.wait()
    assert {(change.kind, change.path) for change in container.diff()} >= {("A", "/new"), ("D", "/etc/group")}
    image_id = container.commit(CommitConfig(reference="made:here", changes=['CMD ["cat", "/new"]']))
    with engine.containers.run("made:here", network_mode="none") as made:
        assert made.image_id == image_id
        assert made.wait() == 0
        assert [line.data for line in made.logs()] == [b"new\n"]
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as archive:
        assert "new" in [name.removeprefix("./") for name in archive.getnames()]
    container.remove()
    assert engine.images.remove("made:here")[0].untagged == "made:here"


@pytest.mark.needs("cgroup1")
def test_a_block_device_can_be_slowed_down(engine: Engine) -> None:
    device = next(f"/dev/{name}" for name in sorted(os.listdir("/sys/block")) if os.path.exists(f"/dev/{name}"))
    limits = ResourceConfig(device_read_bps=[DeviceLimit(path=device, value=1 << 20)])
    container = make(engine, "sleep", "60", resources=limits)
    container.start()
    folder = engine.cgroups.at(f"/inception/{container.id}").folder("blkio")
    number = os.stat(device).st_rdev
    assert folder is not None
    limit = Path(f"{folder}/blkio.throttle.read_bps_device").read_text()
    assert limit == f"{os.major(number)}:{os.minor(number)} {1 << 20}\n"
    missing = make(engine, "true", resources=ResourceConfig(device_read_bps=[DeviceLimit(path="/dev/none", value=1)]))
    with pytest.raises(NotFound, match="limit block device /dev/none: No such file or directory"):
        missing.start()


def test_a_container_that_ends_while_it_is_committed_makes_an_image_all_the_same(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = make(engine, "sleep", "60")
    container.start()
    store = engine.store.snapshots.commit

    def commit(*args: object, **options: object) -> int:
        engine.containers.get(container.id).kill()
        container.wait()
        return store(*args, **options)

    monkeypatch.setattr(engine.store.snapshots, "commit", commit)
    image_id = container.commit(CommitConfig())
    assert engine.images.get(image_id).id == image_id
    container.remove()
    engine.images.remove(image_id)


def test_limits_are_in_force_and_can_be_changed(engine: Engine) -> None:
    container = make(engine, "sleep", "60", resources=ResourceConfig(memory_bytes=64 << 20, pids_limit=20))
    container.start()
    cgroup = engine.cgroups.at(f"/inception/{container.id}")
    assert cgroup.stats().memory_limit_bytes == 64 << 20
    assert cgroup.stats().pids_limit == 20
    container.update(UpdateConfig(memory_bytes=96 << 20, memory_swap_bytes=192 << 20, pids_limit=30))
    assert cgroup.stats().memory_limit_bytes == 96 << 20
    assert cgroup.stats().pids_limit == 30


def test_namespaces_are_shared_as_asked(engine: Engine) -> None:
    first = make(engine, "sleep", "60", name="first", ipc_mode="shareable", hostname="one")
    first.start()
    modes = {"network_mode": "container:first", "pid_mode": "container:first", "ipc_mode": "container:first"}
    second = make(engine, "sleep", "60", **modes)
    second.start()
    for kind in ("net", "pid", "ipc"):
        assert os.readlink(f"/proc/{first.state.pid}/ns/{kind}") == os.readlink(f"/proc/{second.state.pid}/ns/{kind}")
    host = make(engine, "sleep", "60", network_mode="host", pid_mode="host", ipc_mode="host", uts_mode="host")
    host.start()
    for kind in ("net", "pid", "ipc", "uts"):
        assert os.readlink(f"/proc/{host.state.pid}/ns/{kind}") == os.readlink(f"/proc/self/ns/{kind}")
    assert os.readlink(f"/proc/{host.state.pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt")
    host.stop(timeout_s=0)
    private = make(engine, "sleep", "60", name="private")
    private.start()
    with pytest.raises(Conflict, match="non-shareable IPC"):
        make(engine, "true", ipc_mode="container:private").start()


def test_the_default_rights_are_docker_s_and_nothing_is_inheritable(engine: Engine) -> None:
    script = "grep -E 'Cap(Inh|Eff|Amb)|Seccomp:|NoNewPrivs' /proc/self/status"
    for user, effective in (("", "00000000a80425fb"), ("1000", "0000000000000000")):
        with engine.containers.run("busybox", ["sh", "-c", script], network_mode="none", user=user) as container:
            container.wait()
            said = dict(line.data.decode().split() for line in container.logs())
        assert said == {
            "CapInh:": "0" * 16,
            "CapEff:": effective,
            "CapAmb:": "0" * 16,
            "NoNewPrivs:": "0",
            "Seccomp:": "2",
        }


@pytest.mark.parametrize("user", ["1000:abc", "0x0", "-1", "2147483648", "4294967296", " 0"])
def test_a_user_that_is_none_is_refused(engine: Engine, user: str) -> None:
    with pytest.raises((InvalidArgument, NotFound, StartFailed)):
        make(engine, "true", user=user).start()
    assert findings(engine) == []


def test_no_descriptor_of_the_caller_is_inside(engine: Engine, tmp_path: Path) -> None:
    leaked = [os.open(tmp_path, os.O_RDONLY) for _ in range(20)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    try:
        container = make(engine, "sleep", "60")
        container.start()
        for found in (
            container.exec(["sh", "-c", "ls -l /proc/self/fd /proc/1/fd"]).output.decode(),
            container.exec(
                ["sh", "-c", "for n in $(seq 3 200); do cd /proc/self/fd/$n 2>/dev/null && pwd; done; true"]
            ).output.decode(),
        ):
            assert str(tmp_path) not in found
        for number in (7, leaked[0], 300):
            with pytest.raises(StartFailed):
                container.exec(["pwd"], working_dir=f"/proc/self/fd/{number}")
    finally:
        for fd in leaked:
            os.close(fd)


def test_fifty_containers_from_threads_leave_nothing(engine: Engine) -> None:
    engine.networks.create(NetworkConfig(name="net"))
    failures: list[BaseException] = []

    def use(number: int) -> None:
        try:
            for _ in range(5):
                with engine.containers.run(
                    "busybox", ["sleep", "60"], network_mode="net" if number % 2 else "none"
                ) as container:
                    assert container.exec(["echo", str(number)]).output == f"{number}\n".encode()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=use, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert engine.containers.list(all=True) == []
    assert findings(engine) == []


def test_events_tell_what_happened_in_order(engine: Engine) -> None:
    since = f"{time.time():.6f}"
    container = make(engine, "true", name="eventful", labels={"a": "b"})
    container.start()
    container.wait()
    container.remove()
    found = [
        (event.action, event.attributes.get("exitCode"))
        for event in engine.events.read(since=since, until="0s", filters={"container": ["eventful"], "label": ["a=b"]})
    ]
    assert found == [("create", None), ("start", None), ("die", "0"), ("destroy", None)]


def test_a_config_that_makes_no_sense_creates_nothing(engine: Engine) -> None:
    for fields, words in (
        ({"network_mode": "nope"}, "network nope not found"),
        ({"volumes_from": ["nope"]}, "No such container: nope"),
        ({"mounts": [MountConfig(type="bind", source="/nope/nope", target="/x")]}, "bind source path does not exist"),
        ({"cap_add": ["FLY"]}, 'unknown capability: "CAP_FLY"'),
        ({"userns_mode": "private"}, "invalid USER mode"),
        ({"runtime": "kata"}, "unknown or invalid runtime name: kata"),
    ):
        with pytest.raises(inception.InceptionError, match=words):
            make(engine, "true", **fields).start()
        for container in engine.containers.list(all=True):
            container.remove()
        assert findings(engine) == []
    with pytest.raises(InvalidArgument, match="no command specified"):
        engine.containers.create(ContainerConfig(image="busybox", entrypoint=[""], command=[])).start()


def _ask(port: int) -> bytes:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(100)
    except OSError:
        return b""


def _tar(name: str, data: bytes, link: str = "") -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo(name)
        if link:
            entry.type, entry.linkname = tarfile.SYMTYPE, link
        entry.size = len(data)
        archive.addfile(entry, io.BytesIO(data))
    stream.seek(0)
    return stream
