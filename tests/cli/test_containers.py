"""The verbs of containers on the real engine: what they print, and how they end."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.waiting import wait_until

pytestmark = pytest.mark.needs("root", "busybox")
QUIET = ("--network", "none")
# A process that does something of its own when it is asked to end.
TRAP = "trap '{}' TERM; echo ready; while :; do sleep 1 & wait; done"


@pytest.fixture
def web(cli):  # type: ignore[no-untyped-def]
    """A container that runs until it is stopped."""
    cli(
        "run",
        "-d",
        *QUIET,
        "--name",
        "web",
        "--label",
        "tier=front",
        "busybox",
        "sh",
        "-c",
        "trap 'exit 3' TERM; while :; do sleep 1 & wait; done",
    )
    yield "web"
    cli.run("rm", "-f", "web")


def test_run_in_the_foreground_passes_output_input_and_exit_code(cli):
    done = cli.run("run", "--rm", "-i", *QUIET, "busybox", "sh", "-c", "cat; echo bad >&2; exit 7", stdin="hello\n")
    assert (done.returncode, done.stdout, done.stderr) == (7, "hello\n", "bad\n")
    assert cli("ps", "-aq") == ""


def test_large_input_and_output_pass_whole(cli):
    data = "x" * 99 + "\n"
    done = cli.run("run", "--rm", "-i", *QUIET, "busybox", "cat", stdin=data * 40_000)
    assert done.stdout == data * 40_000


def test_without_i_the_container_has_no_input(cli):
    assert cli.run("run", "--rm", *QUIET, "busybox", "cat", stdin="hello").stdout == ""


@pytest.mark.parametrize(
    ("command", "code", "words"),
    [
        (["nope"], 127, '"nope": executable file not found in $PATH'),
        (["/nope"], 127, "/nope"),
        (["/etc"], 126, "/etc"),
    ],
)
def test_a_command_that_can_not_be_executed_has_dockers_exit_code(cli, command, code, words):
    found, text = cli.fails("run", "--rm", *QUIET, "busybox", *command)
    assert found == code
    assert text.startswith("inception: ") and words in text
    assert cli("ps", "-aq") == ""


def test_an_image_that_is_nowhere_is_named(cli):
    code, text = cli.fails("run", "--rm", "--pull", "never", "nope:1")
    assert code == 125
    assert text == "inception: No such image: nope:1\n\nRun 'inception run --help' for more information\n"


def test_detached_prints_the_id_and_ps_shows_the_container(cli, web):
    row = json.loads(cli("ps", "--format", "json", "--filter", "name=web"))
    container_id = cli("inspect", "-f", "{{.Id}}", "web").strip()
    assert row["ID"] == container_id[:12] and len(container_id) == 64
    assert row["Image"] == "busybox" and row["Names"] == "web" and row["State"] == "running"
    assert row["Command"] == "\"sh -c 'trap 'exit 3…\""
    assert row["Status"].startswith("Up ")
    assert row["Labels"] == "tier=front"
    table = cli("ps").splitlines()
    assert table[0].split("   ")[0] == "CONTAINER ID"
    assert re.search(rf"^{container_id[:12]}   busybox   \"sh -c 'trap 'exit 3…\"  .* ago   Up .*   web$", table[1])
    assert cli("ps", "-q", "--no-trunc") == container_id + "\n"
    assert cli("ps", "--format", 'table {{.Names}}\\t{{.Label "tier"}}') == "NAMES     tier\nweb       front\n"


def test_stop_start_restart_kill_wait_and_rm(cli, web):
    assert cli("stop", web) == "web\n"
    assert cli("inspect", "-f", "{{.State.Status}} {{.State.ExitCode}}", web) == "exited 3\n"
    assert cli("stop", web) == "web\n"
    assert cli("start", web) == "web\n"
    assert cli("start", web) == "web\n"
    assert cli("restart", "-t", "5", web) == "web\n"
    assert cli("pause", web) == "web\n"
    assert "(Paused)" in cli("ps")
    assert cli("unpause", web) == "web\n"
    code, text = cli.fails("rm", web)
    assert code == 1 and "running" in text
    waiter = cli.start("wait", web, stdout=subprocess.PIPE)
    assert cli("kill", "-s", "KILL", web) == "web\n"
    assert waiter.communicate(timeout=20)[0] == b"137\n"
    code, text = cli.fails("kill", web)
    assert code == 1 and "is not running" in text
    assert cli("rename", web, "shop") == ""
    assert cli("rm", "shop") == "shop\n"


def test_names_that_are_not_there_are_told_one_by_one(cli):
    for verb in ("stop", "rm", "kill", "pause", "wait", "restart", "logs", "top", "port", "diff"):
        code, text = cli.fails(verb, "ghost")
        assert (code, text) == (1, "inception: No such container: ghost\n"), verb
    code, text = cli.fails("start", "ghost", "spirit")
    assert (code, text.splitlines()[-1]) == (1, "inception: failed to start containers: ghost, spirit")
    assert cli.fails("inspect", "ghost") == (1, "inception: No such object: ghost\n")
    done = cli.run("rm", "-f", "ghost")
    assert (done.returncode, done.stderr) == (0, "inception: No such container: ghost\n")


def test_logs_exec_top_and_inspect(cli, web):
    script = "echo one; echo two >&2; sleep 0.3; echo three; sleep 60"
    cli("run", "-d", *QUIET, "--name", "talker", "busybox", "sh", "-c", script)
    try:
        wait_until(lambda: "three" in cli.run("logs", "talker").stdout, "the container to speak")
        done = cli.run("logs", "talker")
        assert (done.stdout, done.stderr) == ("one\nthree\n", "two\n")
        assert cli("logs", "-n", "1", "talker") == "three\n"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z three\n", cli("logs", "-t", "--tail=1", "talker"))
        follower = cli.start("logs", "-f", "talker", stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        cli("kill", "talker")
        assert follower.communicate(timeout=20)[0] == b"one\nthree\n"
    finally:
        cli.run("rm", "-f", "talker")
    assert cli("exec", "-e", "A=1", "-w", "/tmp", "-u", "7", web, "sh", "-c", "echo $A $PWD $(id -u)") == "1 /tmp 7\n"
    assert cli("exec", "-i", web, "cat", stdin="in") == "in"
    assert cli.run("exec", web, "sh", "-c", "exit 9").returncode == 9
    assert cli.run("exec", web, "nope").returncode == 127
    assert cli("exec", "-d", web, "touch", "/made") == ""
    wait_until(lambda: cli.run("exec", web, "ls", "/made").returncode == 0, "the detached exec to work")
    assert cli("diff", web).splitlines().count("A /made") == 1
    assert cli("top", web).splitlines()[0].split()[:2] == ["UID", "PID"]
    document = json.loads(cli("inspect", web))[0]
    assert document["Name"] == "/web" and document["State"]["Running"] is True
    assert cli("inspect", "-f", "{{json .Config.Labels}}", web) == '{"tier":"front"}\n'
    row = json.loads(cli("stats", "--no-stream", "--format", "json", web))
    assert row["Container"] == web
    assert row["Name"] == "web" and row["CPUPerc"].endswith("%") and " / " in row["MemUsage"]


def test_signals_reach_the_container_and_its_exit_code_comes_back(cli):
    process = cli.start("run", "--rm", *QUIET, "busybox", "sh", "-c", TRAP.format("echo got; exit 5"), stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.read() == b"got\n"
    assert process.wait(timeout=20) == 5


def with_terminal(cli, *argv: str):  # type: ignore[no-untyped-def]
    """A call whose three streams are a new terminal of 30 rows and 100 columns; (process, our end)."""
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))

    def lead() -> None:
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    process = cli.start(*argv, stdin=theirs, stdout=theirs, stderr=theirs, preexec_fn=lead)
    os.close(theirs)
    return process, ours


def read_until(fd: int, wanted: bytes) -> bytes:
    seen = b""
    while wanted not in seen:
        try:
            data = os.read(fd, 4096)
        except OSError:
            break
        if not data:
            break
        seen += data
    assert wanted in seen, seen
    return seen


def test_a_terminal_has_our_size_passes_keys_and_can_be_left(cli):
    process, terminal = with_terminal(cli, "run", "-it", *QUIET, "--name", "tty", "busybox", "sh")
    try:
        read_until(terminal, b"# ")
        os.write(terminal, b"stty size; tty\r")
        seen = read_until(terminal, b"/dev/pts/0")
        assert b"30 100" in seen
        os.write(terminal, b"echo sta''rted; sleep 50\r")
        read_until(terminal, b"started")
        os.write(terminal, b"\x03")
        read_until(terminal, b"# ")
        os.write(terminal, b"\x10\x11")
        read_until(terminal, b"read escape sequence")
        assert process.wait(timeout=20) == 0
        assert cli("inspect", "-f", "{{.State.Running}}", "tty") == "true\n"
    finally:
        os.close(terminal)
        process.kill()
        process.wait()
    process, terminal = with_terminal(cli, "attach", "tty")
    try:
        os.write(terminal, b"exit 4\r")
        read_until(terminal, b"exit 4")
        assert process.wait(timeout=20) == 4
    finally:
        os.close(terminal)
        process.kill()
        process.wait()
        cli.run("rm", "-f", "tty")


def test_a_terminal_is_refused_where_there_is_none(cli):
    code, text = cli.fails("run", "--rm", "-it", *QUIET, "busybox", "sh")
    assert (code, text.splitlines()[0]) == (1, "the input device is not a TTY")


def test_cp_both_ways(cli, web, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a").write_text("alpha")
    (folder / "b").write_text("beta")
    cli("cp", str(folder), f"{web}:/new")
    assert cli("exec", web, "cat", "/new/a") == "alpha"
    cli("cp", f"{folder}/a", f"{web}:/new/renamed")
    assert cli("exec", web, "cat", "/new/renamed") == "alpha"
    cli("cp", f"{folder}/.", f"{web}:/tmp")
    assert cli("exec", web, "cat", "/tmp/b") == "beta"
    cli("cp", f"{web}:/new", str(tmp_path / "back"))
    assert (tmp_path / "back" / "renamed").read_text() == "alpha"
    cli("cp", f"{web}:/new/a", str(tmp_path))
    assert (tmp_path / "a").read_text() == "alpha"
    cli("exec", web, "ln", "-s", "/etc/passwd", "/new/link")
    cli("cp", f"{web}:/new/link", str(tmp_path / "link"))
    assert os.readlink(tmp_path / "link") == "/etc/passwd"
    assert cli.fails("cp", f"{web}:/none", str(tmp_path))[0] == 1
    assert cli.fails("cp", "a", "b") == (1, "inception: must specify at least one container source\n")


def test_create_cidfile_commit_export_and_the_images_of_it(cli, tmp_path):
    cidfile = tmp_path / "cid"
    made = cli("create", *QUIET, "--name", "made", "--cidfile", str(cidfile), "busybox", "touch", "/made").strip()
    assert cidfile.read_text() == made
    assert cli.fails("create", "--cidfile", str(cidfile), "busybox")[1].startswith("inception: container ID file found")
    assert cli("start", "-a", "made") == ""
    assert re.fullmatch(r"sha256:[0-9a-f]{64}\n", cli("commit", "-c", 'CMD ["ls", "/made"]', "made", "mine:1"))
    assert cli("run", "--rm", *QUIET, "mine:1") == "/made\n"
    assert cli("images", "mine", "--format", "{{.Repository}}:{{.Tag}}") == "mine:1\n"
    archive = tmp_path / "made.tar"
    cli("export", "-o", str(archive), "made")
    assert "made" in subprocess.run(["tar", "tf", archive], capture_output=True, text=True, check=True).stdout.split()
    saved = tmp_path / "mine.tar"
    cli("save", "-o", str(saved), "mine:1")
    assert "Untagged: mine:1" in cli("rmi", "-f", "mine:1")
    assert cli("load", "-i", str(saved)) == "Loaded image: mine:1\n"
    assert cli("history", "--format", "{{.Size}}", "mine:1").count("\n") >= 2
    cli("rm", "made")
    cli("rmi", "mine:1")


def test_health_is_shown(cli):
    cli("run", "-d", *QUIET, "--name", "well", "--health-cmd", "true", "--health-interval", "200ms", "busybox", "sleep", "60")
    try:
        wait_until(lambda: "(healthy)" in cli("ps", "--filter", "name=well"), "the container to be healthy")
        assert cli("ps", "-q", "--filter", "health=healthy").count("\n") == 1
        assert cli("inspect", "-f", "{{.State.Health.Status}}", "well") == "healthy\n"
    finally:
        cli.run("rm", "-f", "well")


def test_explain_prints_the_plan_and_starts_nothing(cli):
    text = cli("run", "--explain", *QUIET, "--read-only", "busybox", "true")
    assert "clone3(" in text and 'fsopen("overlay"' in text and "  exec(" in text and "root.readonly" in text
    assert cli("ps", "-aq") == ""


def test_networks_and_volumes(cli):
    network = cli("network", "create", "--subnet", "10.213.7.0/24", "--label", "a=b", "n1").strip()
    assert len(network) == 64
    assert cli("network", "ls", "-f", "name=n1", "--format", "{{.ID}} {{.Name}} {{.Driver}} {{.Scope}}") == (
        f"{network[:12]} n1 bridge local\n"
    )
    assert cli.fails("network", "create", "n1")[1] == "inception: network with name n1 already exists\n"
    assert cli("network", "inspect", "-f", "{{(index .IPAM.Config 0).Subnet}}", "n1") == "10.213.7.0/24\n"
    assert cli("volume", "create", "v1") == "v1\n"
    assert cli("run", "--rm", *QUIET, "-v", "v1:/data", "busybox", "touch", "/data/x") == ""
    mountpoint = cli("volume", "inspect", "-f", "{{.Mountpoint}}", "v1").strip()
    assert os.listdir(mountpoint) == ["x"]
    assert cli("volume", "ls") == "DRIVER    VOLUME NAME\nlocal     v1\n"
    assert cli("volume", "rm", "v1") == "v1\n"
    assert cli.fails("volume", "rm", "v1") == (1, "inception: get v1: no such volume\n")
    assert cli("network", "rm", "n1") == "n1\n"
    assert cli.fails("network", "rm", "n1") == (1, "inception: network n1 not found\n")


def test_env_files_hosts_and_limits_reach_the_container(cli, tmp_path):
    file = tmp_path / "env"
    file.write_text("A=file\nB='quoted'\n# no\n")
    assert cli("run", "--rm", *QUIET, "--env-file", str(file), "-e", "A=flag", "busybox", "sh", "-c", "echo $A $B") == (
        "flag 'quoted'\n"
    )
    assert cli(
        "run", "--rm", *QUIET, "-h", "box", "-u", "5:6", "-w", "/var", "busybox", "sh", "-c", "hostname; id -u; id -g; pwd"
    ) == ("box\n5\n6\n/var\n")
    assert cli("run", "--rm", *QUIET, "--entrypoint", "echo", "busybox", "hi") == "hi\n"
    assert cli("run", "--rm", *QUIET, "--ulimit", "nofile=50:60", "busybox", "sh", "-c", "ulimit -n; ulimit -Hn") == "50\n60\n"
    assert (
        cli(
            "run", "--rm", *QUIET, "--read-only", "--tmpfs", "/t", "busybox", "sh", "-c", "touch /t/x && ! touch /x 2>/dev/null"
        )
        == ""
    )
    assert cli("run", "--rm", *QUIET, "-v", f"{tmp_path}:/host:ro", "busybox", "ls", "/host") == "env\n"


def test_prune_asks_and_system_verbs_speak(cli):
    cli("create", *QUIET, "--name", "old", "busybox")
    done = cli.run("container", "prune", stdin="n\n")
    assert done.stdout == "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] "
    old = cli("ps", "-aq", "--no-trunc").strip()
    assert cli("container", "prune", "-f").startswith(f"Deleted Containers:\n{old}\n\nTotal reclaimed space: ")
    assert cli("system", "df").splitlines()[0].split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert cli("info", "--format", "{{.Containers}}") == "0\n"
    assert "Version:" in cli("version")
    assert json.loads(cli("version", "--format", "json"))["Client"]["Os"] == "linux"


def test_events_tell_what_happened(cli):
    since = str(time.time())
    cli("run", "--rm", *QUIET, "--name", "shortly", "busybox", "true")
    text = cli("events", "--since", since, "--until", str(time.time()), "--filter", "type=container")
    actions = [line.split()[2] for line in text.splitlines()]
    assert actions[:2] == ["create", "start"] or actions[:3] == ["create", "attach", "start"], text
    assert actions[-2:] == ["die", "destroy"], text
    assert all("name=shortly" in line for line in text.splitlines())


def test_killing_the_command_line_leaves_the_container_alone(cli):
    process = cli.start("run", *QUIET, "--name", "orphan", "busybox", "sleep", "60", stdout=subprocess.DEVNULL)
    wait_until(lambda: cli.run("inspect", "-f", "{{.State.Running}}", "orphan").stdout == "true\n", "the container to run")
    process.kill()
    process.wait()
    assert cli("inspect", "-f", "{{.State.Running}}", "orphan") == "true\n"
    assert cli("rm", "-f", "orphan") == "orphan\n"


def test_a_container_is_named_in_the_tree_of_namespaces(cli, web):
    assert "  web (container)\n" in cli("ns")


def test_a_wrong_command_line_touches_no_disk(cli):
    done = subprocess.run(
        [*cli.prefix[:-3], "/none/root", "--run-root", "/none/run", "run", "--nope"],
        capture_output=True,
        text=True,
        check=False,
    )
    usage = "Usage:  inception run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'inception run --help' for more information\n"
    assert (done.returncode, done.stderr) == (125, f"unknown flag: --nope\n\n{usage}")
    assert not Path("/none").exists()


def test_programs_see_that_they_are_in_a_container_as_in_dockers(cli):
    assert cli("run", "--name", "marked", "--read-only", "busybox", "ls", "/.dockerenv") == "/.dockerenv\n"
    assert cli("diff", "marked") == ""
    cli("commit", "marked", "marked:1")
    assert ".dockerenv" not in cli(
        "run", "--rm", "--mount", "type=image,source=marked:1,target=/image", "busybox", "ls", "-a", "/image"
    )
    cli("run", "--name", "unmarked", "busybox", "rm", "/.dockerenv")
    assert cli.run("start", "--attach", "unmarked").returncode == 1  # it stays away
    cli("rm", "marked", "unmarked")
    cli("rmi", "marked:1")
