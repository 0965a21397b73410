"""RUN --mount: what a step sees beside its root, and that nothing of it stays."""

from __future__ import annotations

import io
import json
import os
import signal
import socket
import subprocess
import sys
import tarfile
import threading
import time

import pytest

from inception.build import BuildFailed, DockerfileError
from inception.build.agent import AgentSocket, KeyAgent, connect, parse_ssh
from inception.build.config import SecretSource
from inception.errors import InceptionError, InvalidArgument

pytestmark = pytest.mark.needs("root")


def test_a_bind_shows_the_context_without_what_is_ignored_and_leaves_nothing(busybox):
    busybox.write("src/a", "one")
    busybox.write("src/hidden", "x")
    busybox.write(".dockerignore", "src/hidden\n")
    busybox.build("FROM busybox\nRUN --mount=target=/in/deep,source=src ls /in/deep > /list; ! touch /in/deep/b; id -u > /id\n")
    assert busybox.read("list") == "a\n"
    assert not any(" in/" in line for line in busybox.tree())
    busybox.build()
    assert busybox.cached() == [True]
    busybox.write("src/a", "two")
    busybox.build()
    assert busybox.cached() == [False]


def test_what_is_written_to_a_bind_is_thrown_away(busybox):
    busybox.write("src/a", "one")
    busybox.build(
        "FROM busybox\nWORKDIR /w\n"
        "RUN --mount=type=bind,source=src/a,target=file,rw echo two > file && cat file > /seen\n"
        "RUN --mount=type=bind,rw,target=. echo three > src/a && cat src/a >> /seen\n"
    )
    assert busybox.read("seen") == "two\nthree\n"
    assert (busybox.context / "src/a").read_text() == "one"
    assert "w/file" not in str(busybox.tree())


def test_a_bind_shows_a_stage_an_image_and_their_folders(busybox):
    busybox.build(
        "FROM busybox AS one\nRUN mkdir -p /d && echo made > /d/f && ln -s /d /l\n"
        "FROM busybox\n"
        "RUN --mount=from=one,source=/l,target=/m cat /m/f > /out\n"
        "RUN --mount=from=busybox,source=bin/busybox,target=/t/busybox /t/busybox echo tool >> /out\n"
        "RUN --mount=from=one,source=d/f,target=/m2,readwrite echo more >> /m2; cat /m2 >> /out\n"
    )
    assert busybox.read("out") == "made\ntool\nmade\nmore\n"
    busybox.build()
    assert all(busybox.cached())


def test_a_cache_outlives_the_build_and_is_in_no_layer(busybox):
    mount = "--mount=type=cache,target=/cache,id=mine,mode=0711,uid=3,gid=4"
    step = f"RUN {mount} " + "ls -ldn /cache > /stat; echo {} >> /cache/f; cat /cache/f > /f\n"
    busybox.build("FROM busybox\n" + step.format("a"))
    assert busybox.read("stat").startswith("drwx--x--x") and " 3 " in busybox.read("stat")
    busybox.build("FROM busybox\n" + step.format("b"))
    assert busybox.read("f") == "a\nb\n"
    assert not any(" cache" in line for line in busybox.tree())
    busybox.build("FROM busybox\nRUN --mount=type=cache,target=/cache,id=mine,sharing=locked,ro ! touch /cache/x\n")


def test_a_cache_may_begin_with_files_of_a_stage(busybox):
    busybox.build(
        "FROM busybox AS base\nRUN mkdir /d; echo base > /d/f\n"
        "FROM busybox\nRUN --mount=type=cache,from=base,source=/d,target=/c cat /c/f > /out; echo more >> /c/f\n"
        "RUN --mount=type=cache,from=base,source=/d,target=/c cat /c/f > /out2\n"
    )
    assert (busybox.read("out"), busybox.read("out2")) == ("base\n", "base\nmore\n")


def test_locked_caches_are_used_one_after_the_other_and_private_ones_apart(busybox):
    step = (
        "RUN --mount=type=cache,target=/c,id={0},sharing={0} mkdir /c/lock && sleep 0.3 && rmdir /c/lock && echo {1} > /{1}\n"
    )
    for sharing in ("locked", "private"):
        first, second = step.format(sharing, "a"), step.format(sharing, "b")
        busybox.build(f"FROM busybox AS a\n{first}FROM busybox AS b\n{second}COPY --from=a /a /\n")
        assert busybox.read("a") + busybox.read("b") == "a\nb\n"


def test_tmpfs_is_memory_of_the_size_asked_for(busybox):
    busybox.build("FROM busybox\nRUN --mount=type=tmpfs,target=/t,size=1m grep ' /t ' /proc/mounts > /out; echo x > /t/x\n")
    assert "tmpfs" in busybox.read("out") and "size=1024k" in busybox.read("out")
    assert not any(" t/" in line for line in busybox.tree())


CANARY = "CANARY-7f3a"


def everything(folder) -> bytes:
    """Every byte beneath *folder*, names included."""
    found = bytearray()
    for top, folders, files in os.walk(folder):
        found += "\n".join(folders + files).encode()
        for name in files:
            with open(os.path.join(top, name), "rb") as file:
                found += file.read()
    return bytes(found)


@pytest.mark.parametrize(
    "options", ["", ",target=/run/secrets/x", ",target=/root/.key,mode=0444", ",uid=7,gid=8,target=/etc/k"]
)
def test_a_secret_is_seen_by_its_step_and_is_nowhere_afterwards(busybox, tmp_path, monkeypatch, options):
    monkeypatch.setenv("B2_SECRET", CANARY)
    target = options.partition("target=")[2].partition(",")[0] or "/run/secrets/key"
    before = busybox.tree(image="busybox")
    busybox.build(
        f"FROM busybox\nRUN --mount=type=secret,id=key{options} --mount=type=secret,id=key,env=KEY "
        f'test "$(cat {target})" = "$KEY" && test ${{#KEY}} = {len(CANARY)} && '
        f'ls -ln {target} && grep -q " {target} tmpfs ro" /proc/mounts\n',
        secrets={"key": SecretSource(env="B2_SECRET")},
    )
    assert busybox.tree() == before
    assert busybox.document().rootfs.diff_ids == busybox.document("busybox").rootfs.diff_ids
    assert CANARY.encode() not in everything(tmp_path)
    assert not any(CANARY.encode() in event.data or CANARY in event.name for event in busybox.events)
    # Another value of the secret is no reason to run the step again.
    monkeypatch.setenv("B2_SECRET", "other")
    busybox.build(secrets={"key": SecretSource(env="B2_SECRET")})
    assert busybox.cached() == [True]


def test_a_secret_that_is_missing_matters_when_it_is_required(busybox):
    busybox.build("FROM busybox\nRUN --mount=type=secret,id=key test ! -e /run/secrets/key\n")
    with pytest.raises(BuildFailed, match="secret key: not found"):
        busybox.build("FROM busybox\nRUN --mount=type=secret,id=key,required true\n")


@pytest.fixture
def agent(tmp_path):
    """An agent that answers every message with its own type, and notes what it was asked."""
    path = str(tmp_path / "agent")
    asked: list[int] = []
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def serve() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            while message := client.recv(100):
                asked.append(message[4])
                client.sendall(b"\0\0\0\1\x0c")
            client.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield path, asked
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def test_ssh_asks_the_agent_to_list_and_to_sign_and_nothing_else(agent, tmp_path):
    path, asked = agent
    folder = os.open(tmp_path, os.O_RDONLY)
    forwarded = AgentSocket(folder, "s", lambda: connect(path))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "s"))
        answers = []
        for kind in (11, 13, 17, 19, 27, 255):  # list, sign; add, remove all, extension, anything
            client.sendall(bytes((0, 0, 0, 1, kind)))
            answers.append(client.recv(100)[4])
    forwarded.close()
    os.close(folder)
    assert answers == [12, 12, 5, 5, 5, 5]
    assert asked == [11, 13]


def test_ssh_is_a_socket_for_the_step_alone(busybox, agent):
    path, _ = agent
    busybox.build(
        "FROM busybox\nRUN --mount=type=ssh stat -c '%a %F' $SSH_AUTH_SOCK > /out; echo $SSH_AUTH_SOCK >> /out\n",
        ssh={"default": path},
    )
    assert busybox.read("out") == "600 socket\n/run/buildkit/ssh_agent.0\n"
    assert not any("buildkit" in line for line in busybox.tree())
    with pytest.raises(BuildFailed, match="ssh agent other: not found"):
        busybox.build("FROM busybox\nRUN --mount=type=ssh,id=other,required true\n", ssh={"default": path})


@pytest.mark.parametrize("source", ["../../../canary", "/../canary", "up/canary", "abs"])
def test_no_source_leads_out_of_where_it_is_from(busybox, tmp_path, source):
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary/file").write_text("CANARY")
    for place in (busybox.context, busybox.context / "x"):
        place.mkdir(exist_ok=True)
    os.symlink("../../..", busybox.context / "up")
    os.symlink(tmp_path / "canary", busybox.context / "abs")
    with pytest.raises(BuildFailed, match=r"not found|No such file"):
        busybox.build(f"FROM busybox\nRUN --mount=source={source},target=/m cat /m/file\n")
    links = f"RUN ln -s /../../.. /up && ln -s {tmp_path}/canary /abs\n"
    with pytest.raises(BuildFailed, match=r"not found|No such file|non-zero"):
        busybox.build(f"FROM busybox AS a\n{links}FROM busybox\nRUN --mount=from=a,source={source},target=/m cat /m/file\n")
    busybox.build(f"FROM busybox\nRUN --mount=type=cache,id={source},source=d/{source},target=/m test ! -e /m/file\n")


def test_the_root_of_an_image_is_the_images_own(busybox, tmp_path):
    (tmp_path / "canary").write_text("CANARY")
    busybox.build(f"FROM busybox\nRUN --mount=from=busybox,source=/,target=/m test ! -e /m{tmp_path}/canary\n")


def test_cleaning_up_mount_points_follows_no_link_that_the_step_made(busybox, tmp_path):
    folder = tmp_path / "canary/empty"
    folder.mkdir(parents=True)
    busybox.build(
        "FROM busybox\n"
        f"RUN --mount=type=tmpfs,target=/mnt{tmp_path}/canary/empty umount /mnt/* 2>/dev/null; mv /mnt /gone; ln -s / /mnt\n"
        f"RUN --mount=type=tmpfs,target=/m2/canary/empty mv /m2 /gone2 && ln -s {tmp_path} /m2\n"
    )
    assert folder.is_dir()
    assert "lrwxrwxrwx 0:0 mnt -> /" in busybox.tree()


def test_mounts_that_make_no_sense_are_refused_with_the_line(busybox):
    for options, message in {
        "type=volume,target=/x": 'unsupported mount type "volume"',
        "type=cache": "target is required",
        "type=tmpfs,target=/x,id=1": "unexpected key 'id'",
        "type=cache,target=/x,sharing=some": "unsupported sharing value",
        "type=bind,from=$x,target=/x": "doesn't support variable expansion",
        "type=secret": "one of id, target required",
        "type=cache,target=/x,mode=9": "invalid value 9 for mode",
        "type=bind,target=/": "invalid mount target",
    }.items():
        with pytest.raises(DockerfileError, match=message) as caught:
            busybox.build(f"FROM busybox\nRUN --mount={options} true\n")
        assert str(caught.value).startswith("Dockerfile:2: RUN: ")


def test_a_failing_stage_ends_the_command_of_another_at_once(busybox):
    started = time.monotonic()
    with pytest.raises(BuildFailed, match="non-zero code: 3"):
        busybox.build(
            "FROM busybox AS slow\nRUN --mount=type=tmpfs,target=/t sleep 100\n"
            "FROM busybox AS failing\nRUN sleep 1; exit 3\n"
            "FROM busybox\nCOPY --from=failing / /a\nCOPY --from=slow / /b\n"
        )
    assert time.monotonic() - started < 60
    assert busybox.engine.database.rows("SELECT id FROM containers") == []


def test_an_interrupted_build_ends_its_commands_and_leaves_nothing(busybox, tmp_path):
    busybox.write("Dockerfile", "FROM busybox AS a\nRUN sleep 100\nFROM busybox\nRUN sleep 101\nCOPY --from=a / /a\n")
    engine = busybox.engine
    base = [sys.executable, "-m", "inception.cli", "--root", engine.root, "--run-root", engine.run_root]
    with subprocess.Popen(
        [*base, "build", "--progress=plain", str(busybox.context)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        seen = 0
        while seen < 2 and (line := process.stderr.readline()):
            seen += "RUN sleep" in line
        while len(engine.database.rows("SELECT id FROM containers WHERE status = 'starting'")) < 2:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert engine.database.rows("SELECT id FROM containers") == []


def test_named_contexts_are_folders_and_images(busybox, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "a").write_text("from other")
    (other / ".dockerignore").write_text("no\n")
    (other / "no").write_text("")
    busybox.build(
        "FROM tools\nCOPY --from=other . /o\nRUN --mount=from=Other,target=/m cat /m/a > /a\n",
        contexts={"other": str(other), "tools": "docker-image://busybox"},
    )
    assert busybox.read("a") == "from other"
    assert "-rw-r--r-- 0:0 o/a" in busybox.tree() and "o/no" not in str(busybox.tree())
    busybox.build("FROM other AS busybox\nFROM busybox\n", contexts={"other": str(other)})
    assert busybox.tree() == ["-rw-r--r-- 0:0 .dockerignore", "-rw-r--r-- 0:0 a"]
    with pytest.raises(InceptionError, match="No such file"):
        busybox.build("FROM other\n", contexts={"other": str(tmp_path / "missing")})


def test_a_named_context_may_be_an_oci_layout(busybox, tmp_path):
    busybox.build("FROM scratch\nLABEL of=layout\nCOPY . /files\n", tags=["inside:v1"])
    layout = tmp_path / "layout"
    with tarfile.open(fileobj=io.BytesIO(b"".join(busybox.engine.images.save(["inside:v1"])))) as tar:
        tar.extractall(layout)
    busybox.engine.images.remove("inside:v1", force=True)
    index = json.loads((layout / "index.json").read_text())
    entry = index["manifests"][0]
    entry["annotations"] = {"org.opencontainers.image.ref.name": "v1"}
    (layout / "index.json").write_text(json.dumps(index))
    for place in (f"{layout}:v1", f"{layout}@{entry['digest']}", f"{layout}:other@{entry['digest']}"):
        busybox.build("FROM other\nCOPY --from=other /files/Dockerfile /again\n", contexts={"other": f"oci-layout://{place}"})
        assert busybox.document().config.labels == {"of": "layout"}
        assert "-rw-r--r-- 0:0 again" in busybox.tree()
    assert [image.names for image in busybox.engine.images.list() if "v1" in str(image.names)] == []
    for place, cause in ((layout, "no image 'latest' in this OCI layout"), (tmp_path / "none", "is this folder an OCI layout")):
        with pytest.raises(InceptionError) as caught:
            busybox.build("FROM other\n", contexts={"other": f"oci-layout://{place}"})
        assert cause in f"{caught.value} {caught.value.hint}"


@pytest.fixture
def key(tmp_path):
    """A private key, and the fingerprint that agents show of it."""
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "of-the-tests", "-f", "key"]
    subprocess.run(make, cwd=tmp_path, check=True, stdin=subprocess.DEVNULL)
    shown = subprocess.run(["ssh-keygen", "-lf", "key.pub"], cwd=tmp_path, check=True, capture_output=True, text=True).stdout
    return tmp_path / "key", shown.split()[1]


def test_a_key_file_is_an_agent_for_the_step(busybox, key, tmp_path):
    path, fingerprint = key
    name, files = parse_ssh(f"mine={path}")
    assert (name, files) == ("mine", str(path))
    busybox.build(
        "FROM busybox\nRUN --mount=type=ssh,id=mine,required test -S $SSH_AUTH_SOCK && echo $SSH_AUTH_SOCK >/out\n",
        ssh={name: files},
    )
    assert busybox.read("out") == "/run/buildkit/ssh_agent.0\n"
    folder = os.open(tmp_path, os.O_RDONLY)
    started = KeyAgent([str(path)], str(tmp_path))
    forwarded = AgentSocket(folder, "s", started.reach)
    try:
        env = {"SSH_AUTH_SOCK": "s", "PATH": "/usr/bin:/bin"}
        listed = subprocess.run(["ssh-add", "-l"], cwd=tmp_path, env=env, check=True, capture_output=True, text=True).stdout
        assert fingerprint in listed and "of-the-tests" in listed
        removed = subprocess.run(["ssh-add", "-D"], cwd=tmp_path, env=env, capture_output=True)
        assert removed.returncode != 0
    finally:
        forwarded.close()
        started.close()
        os.close(folder)


def test_what_is_no_key_and_no_socket_is_refused_before_anything_runs(busybox, key, tmp_path):
    path, _ = key
    (tmp_path / "text").write_text("not a key")
    for wrong in (tmp_path / "text", tmp_path / "nothing", f"{path},{tmp_path / 'text'}"):
        with pytest.raises(InvalidArgument, match="neither an agent's socket nor a"):
            parse_ssh(f"default={wrong}")
    subprocess.run(["ssh-keygen", "-q", "-p", "-N", "a passphrase", "-f", str(path)], check=True, capture_output=True)
    with pytest.raises(BuildFailed, match=f"ssh key {path}"):
        busybox.build("FROM busybox\nRUN --mount=type=ssh,required true\n", ssh={"default": str(path)})
