"""docker-py, the client of most Python programs; aiodocker; testcontainers."""

from __future__ import annotations

import asyncio
import base64
import functools
import http.server
import io
import json
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import docker.errors
import pytest
from tests.store.registries import HTPASSWD, DebianRegistry

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


def test_an_exec_is_framed_as_its_start_asks(client: docker.DockerClient) -> None:
    box = client.containers.run("bb", ["sleep", "100"], detach=True)
    made = client.api.exec_create(box.id, ["echo", "hi"], tty=True)["Id"]
    assert client.api.exec_start(made, tty=False) == b"hi\r\n"  # docker-py takes frames apart then
    made = client.api.exec_create(box.id, ["echo", "hi"], tty=True)["Id"]
    assert client.api.exec_start(made, tty=True) == b"hi\r\n"
    made = client.api.exec_create(box.id, ["echo", "hi"], tty=True)["Id"]
    assert client.api.exec_start(made, demux=True) == (b"hi\r\n", None)


def test_a_short_program_has_spoken_when_its_start_is_over(client: docker.DockerClient) -> None:
    for _ in range(5):
        box = client.api.create_container("bb", ["sh", "-c", "usleep 20000; echo said"])
        client.api.start(box)
        assert client.api.logs(box) == b"said\n"


def test_committing_a_container_that_is_about_to_end(client: docker.DockerClient) -> None:
    for _ in range(8):
        box = client.containers.run("bb", ["touch", "/test"], detach=True)
        image = box.commit()
        box.wait()
        image.remove()


def test_commit_expands_variables_of_the_image(client: docker.DockerClient) -> None:
    box = client.containers.create("bb", "true")
    changes = ["ENV PATH=/usr/bin:$PATH A='$PATH'", "LABEL path=${PATH}", 'CMD ["sh", "-c", "echo $PATH"]']
    image = client.images.get(client.api.commit(box.id, changes=changes)["Id"])
    config = image.attrs["Config"]
    assert config["Env"] == ["PATH=/usr/bin:/bin", "A=$PATH"] and config["Labels"] == {"path": "/usr/bin:/bin"}
    assert config["Cmd"] == ["sh", "-c", "echo $PATH"]
    image.remove()


def test_a_networks_name_is_anything_that_can_be_printed(client: docker.DockerClient) -> None:
    network = client.networks.create("by the way")
    assert client.networks.get("by the way").id == network.id
    network.remove()
    for name in ("", "  ", "a/b", "a\nb"):
        with pytest.raises(docker.errors.APIError, match="Invalid network name"):
            client.networks.create(name)


def test_what_an_endpoint_was_given_is_shown_before_the_start(client: docker.DockerClient) -> None:
    network = client.networks.create("given")
    made = client.api.create_endpoint_config(mac_address="02:42:ac:11:00:02", driver_opt={"com.example.setting": "on"})
    box = client.api.create_container("bb", "true", networking_config={"EndpointsConfig": {"given": made}})
    shown = client.api.inspect_container(box)["NetworkSettings"]["Networks"]["given"]
    assert (shown["MacAddress"], shown["DriverOpts"]) == ("02:42:ac:11:00:02", {"com.example.setting": "on"})
    other = client.api.create_endpoint_config(driver_opt={"com.docker.network.endpoint.sysctls": "a=b"})
    with pytest.raises(docker.errors.APIError, match=r"com\.docker\.network\.endpoint\.sysctls is not supported"):
        client.api.create_container("bb", "true", networking_config={"EndpointsConfig": {"given": other}})
    client.api.disconnect_container_from_network(box, "given", force=True)
    with pytest.raises(docker.errors.APIError, match="is not connected to network given"):
        client.api.disconnect_container_from_network(box, "given", force=True)
    network.remove()


def test_link_local_addresses_are_given_beside_the_networks_own(client: docker.DockerClient) -> None:
    def box(*addresses: str) -> docker.models.containers.Container:
        made = client.api.create_endpoint_config(link_local_ips=list(addresses))
        found = client.api.create_container("bb", ["sleep", "60"], networking_config={"EndpointsConfig": {"bridge": made}})
        return client.containers.get(found["Id"])

    one = box("169.254.8.8", "fe80::8")
    one.start()
    shown = client.api.inspect_container(one.id)["NetworkSettings"]["Networks"]["bridge"]
    assert shown["IPAMConfig"] == {"LinkLocalIPs": ["169.254.8.8", "fe80::8"]} and shown["IPAddress"]
    said = one.exec_run("ip addr show eth0").output.decode()
    assert "169.254.8.8/16" in said and "fe80::8/64" in said and f"{shown['IPAddress']}/" in said
    with pytest.raises(docker.errors.APIError, match=r"invalid link local IP address: 10\.0\.0\.1"):
        box("10.0.0.1").start()


def test_what_is_no_archive_of_images_is_told_in_the_stream(client: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.ImageLoadError, match="invalid tar archive"):
        client.images.load(b"abc")


def test_a_cache_that_is_asked_for_by_name_is_all_there_is(client: docker.DockerClient) -> None:
    def cached(known: list[str]) -> int:
        dockerfile = io.BytesIO(b"FROM bb\nENV A=b\nRUN touch /f\nRUN touch /g\n")
        lines = client.api.build(fileobj=dockerfile, tag="cached", cache_from=known, decode=True)
        return sum("Using cache" in line.get("stream", "") for line in lines)

    assert cached([]) == 0
    assert cached(["cached"]) == 3
    assert cached(["nosuchtag"]) == 0


def test_a_slash_behind_a_file_asks_for_a_folder(client: docker.DockerClient) -> None:
    box = client.containers.create("bb", "true")
    with pytest.raises(docker.errors.APIError, match="not a directory: /etc/passwd/"):
        box.get_archive("/etc/passwd/")
    box = client.containers.create("bb", "true")
    with io.BytesIO() as made, tarfile.open(fileobj=made, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "bin"
        tar.addfile(link)
        tar.close()
        box.put_archive("/", made.getvalue())
    with tarfile.open(fileobj=io.BytesIO(b"".join(box.get_archive("/link/")[0]))) as tar:
        assert tar.getmembers()[0].isdir() and tar.getnames()[0] == "link" and "link/busybox" in tar.getnames()
    with tarfile.open(fileobj=io.BytesIO(b"".join(box.get_archive("/link")[0]))) as tar:
        assert tar.getmember("link").issym()


@pytest.mark.needs("docker-registry")
def test_a_build_fetches_its_base_with_the_clients_log_in(
    client: docker.DockerClient, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from inception.build import BuildConfig
    from inception.client.build import build as remote_build
    from inception.client.engine import RemoteEngine

    (tmp_path / "htpasswd").write_text(HTPASSWD)
    registry = DebianRegistry(tmp_path, f"auth: {{htpasswd: {{realm: tests, path: {tmp_path}/htpasswd}}}}")
    name = f"{registry.host}/team/base"
    try:
        client.login("user", "secret", registry=registry.host)
        client.images.get("bb").tag(name, "1")
        assert "errorDetail" not in client.images.push(name, "1")
        client.images.remove(f"{name}:1")
        dockerfile = f"FROM {name}:1\nRUN true\n".encode()
        other = docker.APIClient(base_url=host.address)
        refused = [line["error"] for line in other.build(fileobj=io.BytesIO(dockerfile), decode=True) if "error" in line]
        assert len(refused) == 1 and "denied" in refused[0]
        other.close()
        image, lines = client.images.build(fileobj=io.BytesIO(dockerfile), cache_from=["elsewhere"])
        assert any("cachefrom elsewhere: only this engine's own" in line.get("stream", "") for line in lines)
        image.remove()
        client.images.remove(f"{name}:1")
        # Our own client does the same with the log-ins of whoever runs it.
        auth = base64.b64encode(b"user:secret").decode()
        (tmp_path / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": auth}}}))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        (tmp_path / "context").mkdir()
        (tmp_path / "context/Dockerfile").write_bytes(dockerfile)
        with RemoteEngine(host.address) as engine:
            assert remote_build(engine, BuildConfig(context=str(tmp_path / "context"))).image_id
    finally:
        registry.close()


def test_refusals_that_clients_look_into(client: docker.DockerClient) -> None:
    with pytest.raises(docker.errors.NotFound, match='plugin "nope" not found'):
        client.volumes.create("named", driver="nope")
    box = client.containers.run("bb", ["sleep", "100"], detach=True)
    with pytest.raises(docker.errors.APIError, match="Invalid signal: 0"):
        box.kill(signal="0")
    with pytest.raises(docker.errors.APIError, match="Invalid signal: SIG42"):
        box.kill(signal="SIG42")
    with pytest.raises(docker.errors.NotFound, match="was found but does not match the specified platform"):
        client.api.create_container("bb", "true", platform="linux/nope")
    check = {"test": ["CMD", "true"], "interval": 10**6, "timeout": 10**6, "retries": -1}
    with pytest.raises(docker.errors.APIError, match="Retries in Healthcheck cannot be negative"):
        client.api.create_container("bb", "true", healthcheck=check)
    check |= {"retries": 1, "start_period": 1000}
    with pytest.raises(docker.errors.APIError, match="StartPeriod in Healthcheck cannot be less than 1ms"):
        client.api.create_container("bb", "true", healthcheck=check)


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


@pytest.mark.parametrize(("user", "query", "owner"), [("", "", "12:34"), ("", "&copyUIDGID=1", "12:34"), ("user", "", "12:34"),
                                                      ("user", "&copyUIDGID=1", "1000:1000")])  # fmt: skip
def test_what_is_copied_in_keeps_its_owner_or_gets_the_containers(
    client: docker.DockerClient, host: Host, user: str, query: str, owner: str
) -> None:
    box = client.containers.create("bb", ["stat", "-c", "%u:%g", "/tmp/f"], user=user)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        entry = tarfile.TarInfo("f")
        entry.uid, entry.gid = 12, 34
        tar.addfile(entry)
    path = f"/containers/{box.id}/archive?path=/tmp{query}"
    assert host.request("PUT", path, data.getvalue(), {"Content-Type": "application/x-tar"})[0] == 200
    box.start()
    box.wait()
    assert box.logs().decode().strip() == owner


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


def test_links_on_the_default_network_are_hosts_and_variables(client: docker.DockerClient) -> None:
    client.containers.run(
        "bb", "cat", detach=True, stdin_open=True, name="far", environment={"FOO": "1"}, ports={"80/tcp": None}
    )
    said = client.containers.run(
        "bb", ["sh", "-c", "env; cat /etc/hosts; ping -c1 -W5 near"], links={"far": "near"}, remove=True
    )
    for line in (b"NEAR_ENV_FOO=1", b"NEAR_PORT_80_TCP_PROTO=tcp", b"/near", b"\tnear ", b"1 packets received"):
        assert line in said, said
    client.containers.get("far").kill()
    with pytest.raises(docker.errors.APIError, match="Cannot link to a non running container"):
        client.containers.run("bb", "true", links={"far": "near"})
    with pytest.raises(docker.errors.APIError, match="could not get container for nobody"):
        client.containers.create("bb", "true", links={"nobody": "x"})


def test_links_in_a_network_are_names_for_one_alone(client: docker.DockerClient) -> None:
    network = client.networks.create("linked")
    try:
        client.containers.run("bb", ["sleep", "99"], detach=True, name="far", network="linked")
        ends = client.api.create_networking_config({"linked": client.api.create_endpoint_config(links={"far": "near"})})
        host = client.api.create_host_config(network_mode="linked")
        made = client.api.create_container("bb", ["sleep", "99"], host_config=host, networking_config=ends)
        client.api.start(made)
        box = client.containers.get(made["Id"])
        assert box.exec_run(["ping", "-c1", "-W5", "near"]).exit_code == 0
        assert box.attrs["NetworkSettings"]["Networks"]["linked"]["Links"] == ["far:near"]
        assert client.containers.get("far").exec_run(["ping", "-c1", "-W5", "near"]).exit_code != 0
    finally:
        for box in client.containers.list(all=True):
            box.remove(force=True)
        network.remove()


def test_wait_hears_of_each_end_of_a_container_that_is_started_again(client: docker.DockerClient) -> None:
    box = client.containers.run("bb", ["sh", "-c", "sleep 0.5; exit 3"], detach=True, restart_policy={"Name": "always"})
    assert box.wait(timeout=20)["StatusCode"] == 3


def test_a_volume_without_a_name_is_anonymous_and_pruned(client: docker.DockerClient) -> None:
    kept, gone = client.volumes.create("kept"), client.volumes.create()
    assert "com.docker.volume.anonymous" in gone.attrs["Labels"]
    assert client.volumes.prune()["VolumesDeleted"] == [gone.name]
    assert client.volumes.prune()["VolumesDeleted"] == []
    kept.remove()


def test_what_was_asked_for_is_what_inspect_shows(client: docker.DockerClient) -> None:
    box = client.containers.create(
        "bb",
        environment={"A": None, "B": "", "PATH": None},
        tmpfs={"/t": "size=3M,mode=700"},
        log_config=docker.types.LogConfig(type="json-file", config={"max-file": "7"}),
        isolation="default",
        stop_signal="USR1",
    )
    config, host = box.attrs["Config"], box.attrs["HostConfig"]
    assert config["Env"] == ["B=", "A", "PATH"] and host["Tmpfs"] == {"/t": "size=3M,mode=700"}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "7"}} and host["Isolation"] == "default"
    said = client.containers.run("bb", "/bin/env", environment={"PATH": None, "C": "d"}, remove=True)
    assert b"PATH" not in said and b"C=d\n" in said


def test_fields_are_read_in_any_case_and_a_detached_exec_may_have_a_terminal(client: docker.DockerClient) -> None:
    box = client.containers.run("bb", ["sleep", "100"], detach=True)
    made = client.api.exec_create(box.id, ["cat"], stdin=True, tty=True, detach_keys="ctrl-x")["Id"]
    stream = client.api.exec_start(made, socket=True, tty=True)
    stream._sock.sendall(b"\x18")  # docker-py names the field `detachKeys`
    assert stream.read() == b""
    made = client.api.exec_create(box.id, ["sleep", "50"], tty=True)["Id"]
    client.api.exec_start(made, detach=True)
    client.api.exec_resize(made, height=30, width=100)


def test_addresses_are_kept_free_for_what_is_no_container(client: docker.DockerClient) -> None:
    pool = docker.types.IPAMPool(subnet="172.31.77.0/29", gateway="172.31.77.1", aux_addresses={"a": "172.31.77.2"})
    network = client.networks.create("aux", ipam=docker.types.IPAMConfig(pool_configs=[pool]))
    try:
        assert network.attrs["IPAM"]["Config"][0]["AuxiliaryAddresses"] == {"a": "172.31.77.2"}
        box = client.containers.run("bb", ["sleep", "9"], detach=True, network="aux")
        box.reload()
        assert box.attrs["NetworkSettings"]["Networks"]["aux"]["IPAddress"] == "172.31.77.3"
        box.remove(force=True)
    finally:
        network.remove()


def test_builds_and_imports_from_an_address(client: docker.DockerClient, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM bb\nRUN echo from afar\n")
    with tarfile.open(tmp_path / "context.tar", "w") as tar:
        tar.add(tmp_path / "Dockerfile", "Dockerfile")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_port}"
        for name in ("Dockerfile", "context.tar"):
            said = list(client.api.build(path=f"{here}/{name}", nocache=True, decode=True))
            assert {"stream": "from afar\n"} in said, said
        assert "sha256:" in client.api.import_image_from_url(f"{here}/context.tar", repository="afar")
        server.shutdown()
    client.images.remove("afar")


def test_the_build_cache_is_pruned_as_far_as_is_asked(client: docker.DockerClient) -> None:
    list(client.api.build(fileobj=io.BytesIO(b"FROM bb\nRUN echo cached >/f\n"), decode=True))
    prune = client.api._url("/build/prune")
    kept = client.api._post(prune, params={"max-used-space": 1 << 40}).json()
    assert kept == {"CachesDeleted": None, "SpaceReclaimed": 0}
    assert client.api._post(prune, params={"filters": '{"id":["nope"]}'}).json()["CachesDeleted"] is None
    assert client.api._post(prune).json()["CachesDeleted"]


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


def test_a_tag_beside_a_name_wins_and_the_image_knows_when_it_was_named(client: docker.DockerClient, host: Host) -> None:
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    assert host.request("POST", "/images/bb/tag?repo=here:5000/timed:old&tag=new")[0] == 201
    found = client.api.inspect_image("here:5000/timed:new")
    assert before <= found["Metadata"]["LastTagTime"] <= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    client.images.remove("here:5000/timed:new")
    assert "here:5000/timed:old" not in found["RepoTags"]
