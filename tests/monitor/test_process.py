"""The monitor as a process of its own, with the kernel as it is."""

import json
import os
import pathlib
import signal

import pytest
from tests.waiting import wait_until

from inception.linux.process import wait_pidfd
from inception.monitor import client, handover
from inception.monitor.config import DnsConfig
from inception.monitor.logs import read_logs, while_running
from inception.oci.image import Healthcheck
from inception.oci.runtime import Process
from inception.runtime import plan_exec

pytestmark = pytest.mark.needs("root", "busybox")


def text(stream):
    return b"".join(data for _, data in stream)


def test_a_container_outlives_its_starter_and_its_end_is_noted(container):
    one = container("echo out; echo err >&2; exit 3")
    stream = one.attach()
    one.start()
    assert sorted(stream) == [("stderr", b"err\n"), ("stdout", b"out\n")]
    assert stream.exit_status.exit_code == 3
    stream.close()
    wait_until(lambda: not one.monitor_alive())
    assert (one.status.phase, one.status.exit_code) == ("exited", 3)
    assert sorted(line.data for line in read_logs(one.log_path)) == [b"err\n", b"out\n"]


def test_the_monitor_is_the_parent_and_leads_its_own_session(container):
    one = container("exec sleep 60").start()
    wait_until(lambda: one.status is not None)
    stat = pathlib.Path(f"/proc/{one.launched.pid}/stat").read_text().rpartition(")")[2].split()
    assert int(stat[1]) == one.launched.monitor_pid == one.status.monitor_pid
    monitor = pathlib.Path(f"/proc/{one.launched.monitor_pid}/stat").read_text().rpartition(")")[2].split()
    assert int(monitor[3]) == one.launched.monitor_pid
    assert (one.status.pid, one.status.pid_start_time) == (one.launched.pid, int(stat[19]))


def test_a_monitor_that_is_killed_takes_the_container_with_it(container):
    one = container("sleep 60 & sleep 60").start()
    wait_until(lambda: one.status is not None)
    assert one.monitor_alive()
    one.kill_monitor()
    assert wait_pidfd(one.launched.pidfd, 20)
    wait_until(lambda: not one.monitor_alive())
    with pytest.raises(client.MonitorGone):
        client.watch(one.run_dir)


def test_a_polite_signal_does_not_end_a_monitor(container):
    one = container("sleep 60").start()
    wait_until(lambda: one.status is not None)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.pidfd_send_signal(one.monitor_pidfd, number)
    client.watch(one.run_dir).close()
    assert one.monitor_alive()


def test_no_descriptor_of_the_monitor_or_the_host_reaches_the_container(container):
    one = container("exec sleep 60").start()
    wait_until(lambda: b"sleep" in pathlib.Path(f"/proc/{one.launched.pid}/cmdline").read_bytes())
    assert sorted(os.listdir(f"/proc/{one.launched.pid}/fd")) == ["0", "1", "2"]


def test_a_restart_runs_the_plan_again(container):
    one = container("echo run $$; exit 1", restart="on-failure", restart_maximum_retries=2)
    stream = one.attach()
    one.start()
    assert text(stream) == b"run 1\n" * 3
    assert (stream.exit_status.restart_count, stream.exit_status.exit_code) == (2, 1)


def test_what_the_monitor_ignores_the_container_does_not(container):
    """A monitor ignores SIGTERM and others; dispositions are inherited, so a second start must have reset them."""
    one = container("while read line; do case $line in Sig[IB]*) echo $line;; esac; done </proc/self/status; exit 1")
    one.config.restart, one.config.restart_maximum_retries = "on-failure", 1
    stream = one.attach()
    one.start()
    words = text(stream).split()
    assert words[::2] == [b"SigBlk:", b"SigIgn:"] * 2
    # Without SIGQUIT, which busybox's shell ignores by itself.
    assert [int(mask, 16) & ~(1 << signal.SIGQUIT - 1) for mask in words[1::2]] == [0] * 4


def test_a_terminal_works_across_a_restart(container):
    one = container("stty -echo; echo ready; read word; echo got $word; exit 1", tty=True, open_stdin=True, restart="always")
    stream = one.attach(stdin=True)
    one.start()

    def read_until(word):
        seen = b""
        while word not in seen:
            seen += stream.read(20)[1]

    for number in range(2):
        read_until(b"ready")
        stream.write(b"w%d\n" % number)
        read_until(b"got w%d" % number)
    client.stop_requested(one.run_dir)


def test_stdin_reaches_the_container(container):
    one = container("cat; echo end", open_stdin=True, stdin_once=True)
    stream = one.attach(stdin=True)
    one.start()
    stream.write(b"y" * 300_000)
    stream.close_stdin()
    assert text(stream) == b"y" * 300_000 + b"end\n"


def test_a_detached_exec_joins_the_container_and_is_a_child_of_the_monitor(container):
    one = container("sleep 60").start()
    wait_until(lambda: one.status is not None)
    plan = plan_exec(Process(cwd="/", args=["/bin/sleep", "61"], env=["PATH=/bin"]))
    pid = client.exec_detached(one.run_dir, plan.compile())
    status = dict(line.split(":\t", 1) for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines())
    assert int(status["PPid"]) == one.launched.monitor_pid
    assert len(status["NSpid"].split()) == 2
    broken = plan_exec(Process(cwd="/", args=["/bin/missing"], env=["PATH=/bin"]))
    with pytest.raises(client.RequestFailed) as failure:
        client.exec_detached(one.run_dir, broken.compile())
    assert failure.value.errno == 2


def test_health_is_probed_inside(container):
    check = Healthcheck(test=["CMD-SHELL", "x"], interval=20_000_000, timeout=10_000_000_000, retries=1)
    one = container("sleep 1; touch /tmp/ok; sleep 60", health="test -e /tmp/ok && echo fine", healthcheck=check)
    one.start()
    wait_until(lambda: one.status and one.status.health.status == "unhealthy")
    wait_until(lambda: one.status.health.status == "healthy")
    assert one.status.health.log[-1].output == "fine\n"


def test_names_are_answered_inside_the_network_namespace(container, tmp_path, netns):
    os.makedirs(tmp_path / "names/db")
    (tmp_path / "names/db/172.31.9.9").touch()
    dns = DnsConfig(tables=[str(tmp_path / "names")], forward=False)
    one = container("nslookup db", netns_fd=netns, dns=dns)
    one.fds["dns-udp"], one.fds["dns-tcp"] = handover.dns_sockets(netns)
    stream = one.attach()
    one.start()
    assert b"172.31.9.9" in text(stream)


def test_much_output_with_nobody_reading_costs_no_memory(container):
    one = container(
        "head -c 100000000 /dev/zero | tr '\\0' a; echo; echo ready; exec sleep 60", log_max_size_bytes=5 << 20, log_max_files=3
    ).start()
    wait_until(lambda: any(line.data == b"ready\n" for line in read_logs(one.log_path, tail=1)))
    status = pathlib.Path(f"/proc/{one.launched.monitor_pid}/status").read_text()
    peak_kb = int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    assert peak_kb < 24_000
    logs = [name for name in os.listdir(os.path.dirname(one.log_path)) if name.startswith("c-json.log")]
    assert sorted(logs) == ["c-json.log", "c-json.log.1", "c-json.log.2"]


def test_following_a_log_ends_with_the_container(container):
    one = container("echo first; read go; seq 1000", open_stdin=True).start()
    wait_until(lambda: one.status is not None)
    lines = read_logs(one.log_path, follow=while_running(one.run_dir))
    assert next(lines).data == b"first\n"
    client.attach(one.run_dir, stdin=True).write(b"go\n")
    assert [line.data for line in lines] == [b"%d\n" % number for number in range(1, 1001)]


def test_following_the_log_of_a_killed_container_ends(container):
    one = container("echo first; sleep 60").start()
    wait_until(lambda: one.status is not None)
    lines = read_logs(one.log_path, follow=while_running(one.run_dir))
    assert next(lines).data == b"first\n"
    one.kill_monitor()
    assert list(lines) == []


def test_a_monitor_loads_little(container):
    one = container("sleep 60").start()
    wait_until(lambda: one.status is not None)
    maps = pathlib.Path(f"/proc/{one.launched.monitor_pid}/smaps_rollup").read_text()
    dirty_kb = int(next(line for line in maps.splitlines() if line.startswith("Private_Dirty")).split()[1])
    assert dirty_kb < 7_000


def test_events_are_added_to_the_file_of_the_engine(container, tmp_path):
    one = container(
        "exit 4",
        restart="on-failure",
        restart_maximum_retries=1,
        events_path=str(tmp_path / "events"),
        event_attributes={"name": "web"},
    )
    stream = one.attach()
    one.start()
    text(stream)
    events = [json.loads(line) for line in (tmp_path / "events").read_bytes().splitlines()]
    assert [event["action"] for event in events] == ["die", "start", "die"]
    assert events[0]["attributes"] == {"name": "web", "exitCode": "4"}


def test_the_release_is_executed_when_nobody_claimed_it(container, tmp_path):
    """The engine's release gets ROOT, RUN_ROOT and ID; here it finds no such engine and must end all the same."""
    one = container("exit 0").start()
    assert wait_pidfd(one.monitor_pidfd, 20)
    assert one.status.phase == "exited"
