import json
import os
import signal
import time
from types import SimpleNamespace

import pytest
from tests.waiting import wait_until

from inception.monitor import client
from inception.monitor.kernel import hold_root
from inception.monitor.status import read_status
from inception.oci.image import Healthcheck


def text(stream):
    return b"".join(data for _, data in stream)


def test_a_container_runs_and_its_output_exit_code_and_end_are_noted(fake):
    container = fake("echo out; echo err >&2; exit 3")
    stream = container.attach()
    container.start()
    pieces = sorted(stream)
    assert pieces == [("stderr", b"err\n"), ("stdout", b"out\n")]
    assert stream.exit_status.exit_code == 3
    status = container.join()
    assert (status.phase, status.exit_code, status.pid) == ("exited", 3, 0)
    assert status.started_at < status.finished_at
    assert read_status(container.run_dir) == status
    assert container.finals == [status]
    assert {json.loads(line)["log"] for line in container.log().splitlines()} == {"out\n", "err\n"}


def test_a_signal_shows_as_128_and_its_number(fake):
    container = fake("kill -9 $$").start()
    assert container.join().exit_code == 137


def test_a_start_that_fails_raises_and_leaves_nothing(fake):
    before = _descriptors()
    container = fake("!")
    with pytest.raises(Exception, match="step 7"):
        container.start()
    wait_until(lambda: _descriptors() <= before)  # those of earlier tests may go meanwhile


def test_stdin_reaches_the_container_and_its_end_too(fake):
    container = fake("cat; echo done", open_stdin=True, stdin_once=True)
    stream = container.attach(stdin=True)
    container.start()
    stream.write(b"x" * 200_000)
    stream.close_stdin()
    assert text(stream) == b"x" * 200_000 + b"done\n"


def test_stdin_stays_open_without_stdin_once(fake):
    container = fake("read a; read b; echo $a $b", open_stdin=True)
    container.start()
    first = container.attach(stdin=True)
    first.write(b"1\n")
    first.close_stdin()
    first.close()
    second = container.attach(stdin=True)
    second.write(b"2\n")
    assert text(second) == b"1 2\n"


def test_a_terminal_has_the_size_that_the_client_asks_for(fake):
    container = fake("read go; stty size", tty=True, open_stdin=True)
    stream = container.attach(stdin=True)
    container.start()
    stream.resize(33, 77)
    stream.write(b"go\n")
    assert b"33 77\r\n" in text(stream)
    assert container.join().exit_code == 0


def test_several_clients_see_the_same(fake):
    container = fake("read go; seq 5000", open_stdin=True)
    streams = [container.attach(stdin=number == 0, lossless=True) for number in range(3)]
    container.start()
    streams[0].write(b"go\n")
    expected = "".join(f"{number}\n" for number in range(1, 5001)).encode()
    assert [text(stream) for stream in streams] == [expected] * 3


def test_a_stalled_client_is_dropped_and_the_container_goes_on(fake):
    container = fake("head -c 8000000 /dev/zero | tr '\\0' a; echo; echo end", log_path="")
    stalled = container.attach()
    container.start()
    assert container.join().exit_code == 0
    with pytest.raises(client.MonitorGone):
        text(stalled)


def test_a_lossless_client_gets_every_byte_however_late_it_reads(fake):
    container = fake("head -c 8000000 /dev/zero | tr '\\0' a; exit 4", log_path="")
    stream = container.attach(lossless=True)
    container.start()
    time.sleep(0.3)
    assert not container.thread.join(0)
    assert text(stream) == b"a" * 8_000_000
    assert stream.exit_status.exit_code == 4


def test_a_lossless_client_that_dies_no_longer_holds_the_container(fake):
    container = fake("head -c 8000000 /dev/zero | tr '\\0' a", log_path="")
    stream = container.attach(lossless=True)
    container.start()
    time.sleep(0.2)
    stream.close()
    assert container.join().exit_code == 0


def test_restarts_follow_the_policy_and_are_counted(fake):
    container = fake("echo run; exit 1", restart="on-failure", restart_maximum_retries=2)
    stream = container.attach()
    container.start()
    assert text(stream) == b"run\n" * 3
    status = container.join()
    assert (status.restart_count, status.exit_code) == (2, 1)


def test_the_root_of_a_run_is_held_until_its_end_is_known_and_never_into_the_next_run(fake, monkeypatch):
    held, before = [], []

    def hold(pid):
        before.append([_place(fd) for fd in held])
        held.append(os.open("/", os.O_PATH | os.O_CLOEXEC))
        return held[-1]

    monkeypatch.setattr("inception.monitor.monitor.hold_root", hold)
    container = fake("exit 1", restart="on-failure", restart_maximum_retries=2)
    known = []
    container.finals = SimpleNamespace(append=lambda _status: known.append(os.readlink(f"/proc/self/fd/{held[-1]}")))
    container.start().join()
    assert len(held) == 3
    assert "/" not in [place for run in before for place in run]
    assert known == ["/"]
    wait_until(lambda: _place(held[-1]) != "/")


def _descriptors() -> set[str]:
    """What this process has open; pipes and sockets by names that are never given twice."""
    return {place for fd in os.listdir("/proc/self/fd") if (place := _place(int(fd)))}


def _place(fd: int) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:  # closed, at any moment: another thread does it
        return ""


def test_a_process_that_is_gone_has_no_root_to_hold():
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)
    assert hold_root(pid) is None


def test_a_requested_stop_ends_a_container_that_waits_for_its_restart(fake):
    container = fake("exit 1", restart="always").start()
    wait_until(lambda: container.thread.status.phase == "restarting" and container.thread.status.restart_count >= 3)
    client.stop_requested(container.run_dir)
    assert container.join().phase == "exited"


def test_a_restart_that_cannot_start_is_said_and_tried_again(fake):
    container = fake("exit 1", restart="always")
    container.start()
    with open(f"{container.run_dir}/plan", "w") as file:
        file.write("!")
    wait_until(lambda: "restart web: step 7" in container.thread.status.error and container.thread.status.restart_count > 2)
    with open(f"{container.run_dir}/plan", "w") as file:
        file.write("sleep 60")
    wait_until(lambda: container.thread.status.phase == "running")
    assert container.thread.status.error == ""


def test_a_watcher_hears_of_every_exit(fake):
    container = fake("read go; exit 5", open_stdin=True).start()
    with client.watch(container.run_dir) as watcher:
        assert watcher.wait_exit(0.05) is None
        container.attach(stdin=True).write(b"\n")
        assert watcher.wait_exit(10).exit_code == 5


def test_a_detached_exec_runs_under_the_monitor(fake, tmp_path):
    container = fake("sleep 60").start()
    pid = client.exec_detached(container.run_dir, f"echo exec > {tmp_path}/made; kill $$".encode())
    assert pid > 0
    wait_until(lambda: not os.path.exists(f"/proc/{pid}"))  # collected
    assert (tmp_path / "made").read_text() == "exec\n"


def test_a_failed_exec_says_at_which_step(fake):
    container = fake("sleep 60").start()
    with pytest.raises(client.RequestFailed) as failure:
        client.exec_detached(container.run_dir, b"!")
    assert (failure.value.step, failure.value.errno) == (7, 2)


def test_a_claimed_release_is_known_and_ends_with_the_connection(fake):
    container = fake("sleep 60").start()
    monitor = container.thread._monitor
    stream = container.attach(claim_release=True)
    wait_until(lambda: monitor.release_claimed)
    stream.close()
    wait_until(lambda: not monitor.release_claimed)


def test_nonsense_frames_are_refused_and_hurt_nobody(fake):
    container = fake("sleep 60").start()
    with client.Connection(container.run_dir) as connection:
        for kind in (b"?", b"A", b"E", b"A[]", b'A{"streams": 3}', b"\xff" * 5000):
            with pytest.raises(client.RequestFailed):
                connection.request(kind)
        connection.send(b"r")
        connection.send(b"i" * 10)
        connection.request(b"W")
    os.kill(container.thread.pid, signal.SIGTERM)
    assert container.join().exit_code == 143


def test_dropped_clients_leave_no_descriptor(fake):
    container = fake("sleep 60").start()
    before = _descriptors()
    for _ in range(300):
        container.attach(stdin=True).close()
    wait_until(lambda: _descriptors() <= before)


def test_a_client_without_a_monitor_is_told(tmp_path):
    with pytest.raises(client.MonitorGone, match="no monitor listens"):
        client.watch(str(tmp_path))


def test_a_health_check_without_its_plan_is_said_and_the_container_runs(fake):
    container = fake("sleep 60", healthcheck=Healthcheck(test=["CMD", "true"])).start()
    assert container.thread.status.error == "health check of web: health-plan: No such file or directory"
    assert container.thread.status.phase == "running"
