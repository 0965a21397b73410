"""RUN in a real sandbox: what a command sees, what it leaves, and what a killed build leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from inception.build import BuildFailed
from inception.build.progress import Event

pytestmark = pytest.mark.needs("root", "busybox")


def output(builder) -> str:
    return b"".join(event.data for event in builder.events if "RUN" in event.name).decode()


def test_mount_points_of_the_sandbox_are_in_no_layer(busybox):
    busybox.build(
        "FROM busybox AS b\nFROM scratch\nCOPY --from=b /bin/busybox /bin/busybox\n"
        'RUN ["/bin/busybox", "touch", "/made"]\nRUN ["/bin/busybox", "true"]\n'
    )
    assert [line.split(" ")[2] for line in busybox.tree()] == ["bin/", "bin/busybox", "made"]
    assert [step.empty_layer for step in busybox.document().history] == [False, False, True]


def test_the_hosts_environment_and_files_are_out_of_reach(busybox, monkeypatch, tmp_path):
    monkeypatch.setenv("CANARY", "secret")
    (tmp_path / "canary").write_text("secret")
    busybox.build(f"FROM busybox\nRUN env; ls {tmp_path} || true; cat /proc/1/environ; ls -l /proc/self/fd\n")
    assert "secret" not in output(busybox) and str(tmp_path / "root") not in output(busybox)


def test_proxies_are_seen_by_the_command_alone(busybox):
    text = "FROM busybox\nRUN echo $http_proxy > /seen; env | grep -i proxy\n"
    busybox.build(text, build_args={"http_proxy": "http://me:CANARY@proxy"})
    assert busybox.read("seen") == "http://me:CANARY@proxy\n"
    assert not any("CANARY" in step.created_by for step in busybox.document().history)
    assert not any("CANARY" in text for text in busybox.document().config.env)
    busybox.build(text, build_args={"http_proxy": "http://other"})
    assert busybox.cached() == [True]


def test_a_folder_that_becomes_a_link_to_the_root_harms_nothing(busybox, tmp_path):
    (tmp_path / "canary").write_text("here")
    busybox.build(
        "FROM busybox\nRUN mkdir /mnt && rm -rf /mnt && ln -s / /mnt && ln -s / /srv\n"
        "RUN ls -l / > /tmp/listing\nWORKDIR /mnt/work\nRUN pwd -P > /where\n"
    )
    assert busybox.read("where") == "/work\n"
    assert (tmp_path / "canary").read_text() == "here"


@pytest.mark.parametrize("number", [3, 7, 8, 12, 64])
def test_a_workdir_behind_a_descriptor_never_shows_the_host(busybox, number):
    leaked = [os.open("/", os.O_RDONLY) for _ in range(20)]
    for fd in leaked:
        os.set_inheritable(fd, True)
    try:
        busybox.build(f"FROM busybox\nWORKDIR /proc/self/fd/{number}\nRUN pwd; ls; ls ..; ls /proc/self/fd/\n")
        shown = output(busybox)
        assert "unreachable" not in shown and "lost+found" not in shown
    except BuildFailed:
        pass  # refusing is right too
    finally:
        for fd in leaked:
            os.close(fd)


def test_what_a_command_leaves_running_ends_with_it(busybox):
    started = time.monotonic()
    busybox.build("FROM busybox\nRUN sleep 1000 & echo $! > /pid\n")
    assert time.monotonic() - started < 60
    assert busybox.read("pid").strip().isdecimal()


def test_a_command_has_no_input_and_no_new_capabilities(busybox):
    busybox.build("FROM busybox\nRUN cat > /stdin; grep Cap /proc/self/status > /caps; mount -t tmpfs x /tmp || echo refused\n")
    assert busybox.read("stdin") == ""
    held = dict(line.split(":\t") for line in busybox.read("caps").splitlines())
    assert held["CapInh"] == "0" * 16 and held["CapEff"] == "00000000a80425fb"
    assert "refused" in output(busybox)


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("RUN nothing-of-that-name", "The command '/bin/sh -c nothing-of-that-name' returned a non-zero code: 127"),
        ("RUN sh -c 'kill -9 $$'; exit $?", "returned a non-zero code: 137"),
        ("USER nobody-here\nRUN id", "nobody-here"),
    ],
)
def test_failures_of_commands(busybox, line, cause):
    with pytest.raises(BuildFailed) as caught:
        busybox.build(f"FROM busybox\n{line}\n")
    assert cause in str(caught.value)


@pytest.mark.parametrize("command", ["/not/there", "/etc"])
def test_a_command_that_can_not_be_executed_is_named(busybox, command):
    with pytest.raises(BuildFailed) as caught:
        busybox.build(f'FROM busybox\nRUN ["{command}"]\n')
    assert str(caught.value).startswith("Dockerfile:2: RUN: ") and command in str(caught.value)


def test_output_arrives_while_the_command_runs(busybox):
    seen: list[float] = []

    def watch(event: Event) -> None:
        if event.kind == "output" and b"now" in event.data:
            seen.append(time.monotonic())

    from inception.build import BuildConfig, build

    busybox.write("Dockerfile", "FROM busybox\nRUN echo now; sleep 0.5; echo now\n")
    build(busybox.engine, BuildConfig(context=str(busybox.context)), watch)
    assert len(seen) == 2 and seen[1] - seen[0] > 0.2


def test_a_killed_build_leaves_nothing_for_the_next_one_to_trip_over(busybox):
    busybox.write("Dockerfile", "FROM busybox\nRUN echo 1 > /one\nRUN echo waiting; sleep 1000\n")
    engine = busybox.engine
    argv = ["--root", engine.root, "--run-root", engine.run_root, "build", "--progress", "plain", str(busybox.context)]
    process = subprocess.Popen([sys.executable, "-m", "inception.cli", *argv], stderr=subprocess.PIPE)
    assert process.stderr is not None
    for line in process.stderr:
        if line.rstrip().endswith(b" waiting"):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stderr.close()
    busybox.build("FROM busybox\nRUN echo 1 > /one\nRUN echo 2 > /two\n")
    assert busybox.cached() == [True, False]
    assert engine.store.snapshots.list() == []
    engine.containers.list()
    assert engine.database.rows("SELECT id FROM containers") == []
