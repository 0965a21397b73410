"""docker-py, the client of most Python programs; aiodocker; testcontainers."""

from __future__ import annotations

import asyncio
import io
import socket
import tarfile
from collections.abc import Iterator

import docker
import docker.errors
import pytest

from .support import Host

pytestmark = pytest.mark.needs("root", "nft")


@pytest.fixture
def client(host: Host) -> Iterator[docker.DockerClient]:
    client = docker.DockerClient(base_url=host.address)
    yield client
    client.close()


def test_run_and_errors(client: docker.DockerClient) -> None:
    assert client.containers.run("bb", ["sh", "-c", "echo a; echo b >&2"], remove=True, stderr=True) in (b"a\nb\n", b"b\na\n")
    with pytest.raises(docker.errors.ContainerError, match="non-zero exit status 1"):
        client.containers.run("bb", "false", remove=True)
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("nope")
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("nope")
    with pytest.raises(docker.errors.APIError, match="executable file not found"):
        client.containers.run("bb", "nope")


def test_exec_in_all_its_forms(client: docker.DockerClient) -> None:
    box = client.containers.run("bb", ["sleep", "100"], detach=True)
    assert box.exec_run(["sh", "-c", "echo o; exit 4"]) == (4, b"o\n")
    for _ in range(10):
        assert box.exec_run(["sh", "-c", "echo o; echo e >&2"], demux=True) == (0, (b"o\n", b"e\n"))
    assert list(box.exec_run(["sh", "-c", "for i in 1 2; do echo $i; sleep 0.1; done"], stream=True).output) == [b"1\n", b"2\n"]
    made = client.api.exec_create(box.id, ["cat"], stdin=True)["Id"]
    stream = client.api.exec_start(made, socket=True)
    stream._sock.sendall(b"through")
    stream._sock.shutdown(socket.SHUT_WR)
    assert stream.read().endswith(b"\x07through")
    assert client.api.exec_inspect(made)["ExitCode"] == 0


def test_a_detached_exec_tells_its_exit_code(client: docker.DockerClient) -> None:
    box = client.containers.run("bb", ["sleep", "100"], detach=True)
    made = client.api.exec_create(box.id, ["sh", "-c", "sleep 0.2; exit 3"])["Id"]
    client.api.exec_start(made, detach=True)
    assert client.api.exec_inspect(made)["Running"] and client.api.exec_inspect(made)["Pid"] > 0
    for _ in range(100):
        state = client.api.exec_inspect(made)
        if not state["Running"]:
            break
        asyncio.run(asyncio.sleep(0.02))
    assert state["ExitCode"] == 3


def test_archives(client: docker.DockerClient) -> None:
    box = client.containers.create("bb")
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        entry = tarfile.TarInfo("f.txt")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    assert box.put_archive("/tmp", data.getvalue())
    pieces, found = box.get_archive("/tmp/f.txt")
    assert (found["name"], found["size"], found["mode"]) == ("f.txt", 3, 0o644)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.getnames() == ["f.txt"]
    with pytest.raises(docker.errors.NotFound):
        box.get_archive("/nope")


def test_build_streams_and_tells_the_image(client: docker.DockerClient) -> None:
    image, said = client.images.build(fileobj=io.BytesIO(b"FROM bb\nRUN echo hello\n"), tag="py:1", nocache=True)
    assert image.tags == ["py:1"] and {"stream": "hello\n"} in list(said)
    with pytest.raises(docker.errors.BuildError, match="non-zero code: 2"):
        client.images.build(fileobj=io.BytesIO(b"FROM bb\nRUN exit 2\n"))
    client.images.remove("py:1")


def test_events_logs_and_stats_are_streams(client: docker.DockerClient) -> None:
    events = client.events(decode=True, filters={"event": "start", "type": "container"})
    box = client.containers.run("bb", ["sh", "-c", "while :; do echo x; sleep 0.05; done"], detach=True, name="seen")
    assert next(events)["Actor"]["Attributes"]["name"] == "seen"
    events.close()
    lines = box.logs(stream=True, follow=True)
    assert [next(lines) for _ in range(3)] == [b"x\n"] * 3
    sample = box.stats(stream=False)
    assert sample["precpu_stats"]["system_cpu_usage"] < sample["cpu_stats"]["system_cpu_usage"]


def test_networks_and_volumes_by_objects(client: docker.DockerClient) -> None:
    network, volume = client.networks.create("pynet", labels={"a": "b"}), client.volumes.create("pyvol")
    box = client.containers.run(
        "bb",
        ["sleep", "9"],
        detach=True,
        network="pynet",
        ports={"80/tcp": None},
        volumes={"pyvol": {"bind": "/d", "mode": "rw"}},
    )
    box.reload()
    assert list(box.attrs["NetworkSettings"]["Networks"]) == ["pynet"] and box.ports["80/tcp"][0]["HostPort"].isdigit()
    assert client.networks.list(filters={"label": "a=b"}) == [network]
    box.remove(force=True)
    network.remove()
    volume.remove()


def test_an_old_client_is_served(host: Host) -> None:
    client = docker.DockerClient(base_url=host.address, version="1.24")
    assert client.containers.run("bb", ["echo", "old"], remove=True) == b"old\n"
    client.close()


def test_aiodocker(host: Host) -> None:
    import aiodocker

    async def use() -> None:
        client = aiodocker.Docker(url=host.address)
        try:
            config = {"Image": "bb", "Cmd": ["cat"], "OpenStdin": True, "StdinOnce": True, "AttachStdin": True}
            box = await client.containers.create(config, name="aio")
            async with box.attach(stdin=True, stdout=True, stderr=True) as stream:
                await box.start()
                await stream.write_in(b"hello\n")
                message = await stream.read_out()
                assert message is not None and message.data == b"hello\n"
                run = await box.exec(["sh", "-c", "echo in; exit 5"])
                async with run.start() as output:
                    said = b""
                    while (piece := await output.read_out()) is not None:
                        said += piece.data
                    assert said == b"in\n"
                assert (await run.inspect())["ExitCode"] == 5
            # The one attachment has ended, and with it stdin and so cat.
            assert (await box.wait())["StatusCode"] == 0
            assert await box.log(stdout=True) == ["hello\n"]
            box = await client.containers.create({"Image": "bb", "Cmd": ["cat"], "OpenStdin": True}, name="ws")
            socket = await box.websocket(stdin=True, stdout=True, stream=True)
            await box.start()
            await socket.send_str("by socket\n")
            assert (await socket.receive()).data == b"by socket\n"
            await socket.close()
        finally:
            await client.close()

    asyncio.run(use())


def test_testcontainers(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", host.address)
    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "true")
    from testcontainers.core import config, container, docker_client

    monkeypatch.setattr(config.testcontainers_config, "ryuk_disabled", True)
    monkeypatch.setattr(docker_client, "get_docker_host", lambda: host.address)
    with container.DockerContainer("bb").with_command("sh -c 'echo ready; httpd -f -p 80'").with_exposed_ports(80) as box:
        assert box.get_exposed_port(80)
        assert box.exec("echo inside").output == b"inside\n"


def test_docker_host_serves_from_this_process(busybox_tar: object, tmp_path: object) -> None:
    import os

    import inception

    with inception.docker_host(f"{tmp_path}/root", f"{tmp_path}/run", environment=True) as address:
        path = address.removeprefix("unix://")
        assert os.stat(path).st_mode & 0o777 == 0o600 and os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
        client = docker.from_env()
        assert client.ping() and client.containers.list() == []
        client.close()
    assert not os.path.exists(path) and os.environ.get("DOCKER_HOST") != address
