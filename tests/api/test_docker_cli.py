"""Docker's own CLI, a scenario a command."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from .support import Host

pytestmark = pytest.mark.needs("root", "nft", "docker")


def test_run_passes_output_errors_and_the_exit_code(host: Host) -> None:
    done = host.run("run", "--rm", "bb", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert (done.returncode, done.stdout, done.stderr) == (7, "out\n", "err\n")
    assert host.docker("ps", "-aq") == ""


def test_no_output_of_a_short_container_is_lost(host: Host) -> None:
    for number in range(10):
        assert host.docker("run", "--rm", "bb", "echo", str(number)) == str(number)


def test_run_feeds_stdin_to_its_end(host: Host) -> None:
    text = "x" * 300_000
    assert host.docker("run", "--rm", "-i", "bb", "wc", "-c", input=text) == "300000"


def test_run_of_a_command_that_is_not_there_exits_127(host: Host) -> None:
    done = host.run("run", "--rm", "bb", "nope")
    assert done.returncode == 127 and "executable file not found" in done.stderr
    done = host.run("run", "--rm", "bb", "/etc/passwd")
    assert done.returncode == 126


def test_run_of_an_unknown_image_tries_to_pull(host: Host) -> None:
    done = host.run("run", "--rm", "127.0.0.1:1/nope:1")
    assert done.returncode == 125
    assert "Unable to find image '127.0.0.1:1/nope:1' locally" in done.stderr


def test_names_are_taken_once_and_come_free(host: Host) -> None:
    host.docker("create", "--name", "web", "bb")
    done = host.run("create", "--name", "web", "bb")
    assert done.returncode == 1 and 'The container name "/web" is already in use by container' in done.stderr
    host.docker("rename", "web", "other")
    host.docker("create", "--name", "web", "bb")
    assert sorted(host.docker("ps", "-a", "--format", "{{.Names}}").split()) == ["other", "web"]


def test_life_of_a_container(host: Host) -> None:
    container = host.docker("run", "-d", "--name", "life", "bb", "sleep", "100")
    assert host.docker("ps", "--format", "{{.ID}} {{.Image}} {{.State}}") == f"{container[:12]} bb running"
    host.docker("pause", "life")
    assert host.docker("inspect", "-f", "{{.State.Status}}", "life") == "paused"
    host.docker("unpause", "life")
    host.docker("stop", "-t", "0", "life")
    assert host.docker("wait", "life") == "137"
    host.docker("start", "life")
    host.docker("restart", "-t", "0", "life")
    host.docker("kill", "-s", "KILL", "life")
    assert host.docker("inspect", "-f", "{{.State.ExitCode}}", "life") == "137"
    assert host.docker("rm", "life") == "life"
    done = host.run("inspect", "life")
    assert done.returncode == 1 and "No such object: life" in done.stderr


def test_a_running_container_is_removed_by_force_only(host: Host) -> None:
    host.docker("run", "-d", "--name", "up", "bb", "sleep", "100")
    done = host.run("rm", "up")
    assert done.returncode == 1 and "container is running: stop the container before removing or force remove" in done.stderr
    host.docker("rm", "-f", "up")


def test_exec_has_streams_environment_user_and_exit_code(host: Host) -> None:
    host.docker("run", "-d", "--name", "box", "-e", "A=1", "bb", "sleep", "100")
    done = host.run("exec", "-e", "B=2", "-w", "/tmp", "-u", "user", "box", "sh", "-c", "echo $A$B; pwd; id -u >&2; exit 4")
    assert (done.returncode, done.stdout, done.stderr) == (4, "12\n/tmp\n", "1000\n")
    assert host.docker("exec", "-i", "box", "wc", "-c", input="y" * 200_000) == "200000"
    done = host.run("exec", "box", "nope")
    assert done.returncode == 127 and "executable file not found" in done.stdout + done.stderr
    host.docker("exec", "-d", "box", "touch", "/tmp/mark")
    for _ in range(100):
        if host.run("exec", "box", "test", "-e", "/tmp/mark").returncode == 0:
            break
        time.sleep(0.02)
    else:
        pytest.fail("the detached exec did nothing")
    host.docker("stop", "-t", "0", "box")
    done = host.run("exec", "box", "true")
    assert done.returncode == 1 and "is not running" in done.stderr


def test_terminals(host: Host) -> None:
    """`script` gives the CLI a terminal of its own."""

    def typed(line: str, keys: str) -> subprocess.CompletedProcess[str]:
        command = ["script", "-qec", f"docker {line}", "/dev/null"]
        return subprocess.run(
            command, input=keys, env=host.environment, capture_output=True, text=True, timeout=30, check=False
        )

    done = typed("run --rm -it bb sh -c 'tty; read x; echo got $x; exit 5'", "word\n")
    assert done.returncode == 5 and "/dev/pts/0" in done.stdout and "got word" in done.stdout
    host.docker("run", "-d", "--name", "box", "bb", "sleep", "100")
    done = typed("exec -it box sh -c 'tty; exit 6'", "")
    assert done.returncode == 6 and "/dev/pts/0" in done.stdout


def test_logs(host: Host) -> None:
    host.docker("run", "--name", "talk", "bb", "sh", "-c", "echo one; echo two >&2; sleep 0.3; echo three")
    done = host.run("logs", "talk")
    assert (done.stdout, done.stderr) == ("one\nthree\n", "two\n")
    assert host.docker("logs", "--tail", "1", "talk") == "three"
    stamp, _, text = host.docker("logs", "--timestamps", "--tail", "1", "talk").partition(" ")
    assert text == "three" and stamp.endswith("Z")
    assert host.docker("logs", "--since", "1h", "--until", "1m", "talk") == ""


def test_logs_follow_to_the_end(host: Host) -> None:
    host.docker("run", "-d", "--name", "talk", "bb", "sh", "-c", "for i in 1 2 3 4; do echo $i; sleep 0.1; done")
    assert host.docker("logs", "-f", "talk").split() == ["1", "2", "3", "4"]


def test_attach_ends_with_the_container(host: Host) -> None:
    host.docker("run", "-d", "-i", "--name", "shell", "bb", "sh")
    done = host.run("attach", "shell", input="echo attached\nexit 3\n")
    assert (done.returncode, done.stdout) == (3, "attached\n")
    assert host.run("start", "-ai", "shell", input="echo again; exit 2\n").stdout == "again\n"


def test_published_ports_answer_as_soon_as_start_returns(host: Host) -> None:
    page = "cd /tmp; echo page >index.html; exec httpd -f"
    for number in range(3):
        host.docker(
            "run",
            "-d",
            "--name",
            "web",
            "-p",
            "127.0.0.1:18999:80",
            "bb",
            "sh",
            "-c",
            page,
        )
        port = host.docker("port", "web", "80")
        assert port == "127.0.0.1:18999", number
        assert _fetch("http://127.0.0.1:18999") == b"page\n"
        host.docker("rm", "-f", "web")


def test_what_is_published_everywhere_is_shown_for_both_families(host: Host) -> None:
    host.docker("run", "-d", "--name", "web", "-p", "18998:80", "--expose", "81", "bb", "sleep", "100")
    both = "0.0.0.0:18998->80/tcp, [::]:18998->80/tcp"
    assert host.docker("ps", "--format", "{{.Ports}}") == f"81/tcp, {both}"
    assert host.docker("port", "web", "80").split() == ["0.0.0.0:18998", "[::]:18998"]
    assert _ours(host, "ps", "--format", "{{.Ports}}") == f"81/tcp, {both}\n"
    assert _ours(host, "port", "web") == "80/tcp -> 0.0.0.0:18998\n80/tcp -> [::]:18998\n"


def test_a_port_that_is_bound_is_published_though_nobody_exposes_it(host: Host) -> None:
    """dockerd 20.10 would remember the binding and publish nothing: docs/clients/differences.md."""
    bindings = {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18998"}]}
    body = {"Image": "bb", "Cmd": ["sleep", "100"], "HostConfig": {"PortBindings": bindings}}
    made = host.json("POST", "/containers/create", body)["Id"]
    host.json("POST", f"/containers/{made}/start")
    assert host.json("GET", f"/containers/{made}/json")["NetworkSettings"]["Ports"] == bindings


def _ours(host: Host, *arguments: str) -> str:
    """Our own command line on the engine that *host* serves."""
    command = [sys.executable, "-m", "inception.cli", "--root", str(host.root), "--run-root", str(host.run_root), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=True).stdout


# AttachStdin, AttachStdout, AttachStderr, StdinOnce, as dockerd 20.10 shows them.
_STREAMS = {
    "run -d": "false false false false",
    "run -d -i": "false false false false",
    "run": "false true true false",
    "run -i": "true true true true",
    "run -a stderr": "false false true false",
    "create": "false true true false",
    "create -i": "true true true true",
}


@pytest.mark.parametrize("line", _STREAMS)
def test_inspect_shows_the_streams_that_the_creator_joined(host: Host, line: str) -> None:
    shown = "{{with .Config}}{{.AttachStdin}} {{.AttachStdout}} {{.AttachStderr}} {{.StdinOnce}}{{end}}"
    host.docker(*line.split(), "--name", "box", "bb", "true", input="")
    assert host.docker("inspect", "-f", shown, "box") == _STREAMS[line]
    host.docker("rm", "-f", "box")
    _ours(host, *line.split(), "--name", "box", "bb", "true")
    assert host.docker("inspect", "-f", shown, "box") == _STREAMS[line]


def test_the_mode_of_a_mount_is_what_was_written_behind_it(host: Host, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM bb\nVOLUME /image\n")
    host.docker("build", "-qt", "volumes", str(context))
    asked = {  # with what dockerd 20.10 shows
        "/anonymous": ("-v /anonymous", ""),
        "/named": ("-v named:/named", "z"),
        "/read-only": ("-v named:/read-only:ro", "ro"),
        "/empty": ("-v named:/empty:nocopy", "nocopy"),
        "/bind": (f"-v {context}:/bind", ""),
        "/bind-slave": (f"-v {context}:/bind-slave:rslave", "rslave"),
        "/bind-read-only": (f"-v {context}:/bind-read-only:ro", "ro"),
        "/long-anonymous": ("--mount type=volume,target=/long-anonymous", "z"),
        "/long-read-only": ("--mount type=volume,source=named,target=/long-read-only,readonly", "z"),
        "/long-bind": (f"--mount type=bind,source={context},target=/long-bind,readonly", ""),
        "/image": ("", ""),
    }
    words = [word for line, _ in asked.values() for word in line.split()]
    host.docker("create", "--name", "box", *words, "volumes", "true")
    shown = json.loads(host.docker("inspect", "-f", "{{json .Mounts}}", "box"))
    assert {each["Destination"]: each["Mode"] for each in shown} == {target: mode for target, (_, mode) in asked.items()}
    host.clean()
    host.docker("rmi", "volumes")
    host.docker("volume", "rm", "named")


def test_a_container_that_is_gone_can_not_be_disconnected_even_by_force(host: Host) -> None:
    host.docker("network", "create", "inner")
    done = host.run("network", "disconnect", "inner", "nobody")
    assert (done.returncode, "No such container: nobody" in done.stderr) == (1, True)
    done = host.run("network", "disconnect", "-f", "inner", "nobody")
    assert (done.returncode, "endpoint nobody not found" in done.stderr) == (1, True)
    answer = host.request("POST", "/networks/inner/disconnect", {"Container": "nobody", "Force": True})
    assert (answer[0], json.loads(answer[2])) == (404, {"message": "endpoint nobody not found"})
    host.docker("network", "rm", "inner")


def _fetch(url: str) -> bytes:
    for _ in range(100):
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            time.sleep(0.02)  # the program in the container isn't up yet
    raise AssertionError(f"{url} does not answer")


def test_networks(host: Host) -> None:
    network = host.docker("network", "create", "--subnet", "10.199.7.0/24", "--label", "a=b", "inner")
    try:
        assert host.docker("network", "ls", "-q", "--no-trunc", "--filter", "label=a=b") == network
        host.docker("run", "-d", "--name", "one", "--network", "inner", "--network-alias", "uno", "bb", "sleep", "100")
        host.docker("create", "--name", "two", "bb", "sleep", "100")
        host.docker("network", "connect", "inner", "two")
        host.docker("start", "two")
        assert "10.199.7.2" in host.docker("exec", "two", "nslookup", "uno")
        containers = json.loads(host.docker("network", "inspect", "inner"))[0]["Containers"]
        assert sorted(entry["Name"] for entry in containers.values()) == ["one", "two"]
        done = host.run("network", "rm", "inner")
        assert done.returncode == 1 and "has active endpoints" in done.stderr
        assert host.request("DELETE", "/networks/inner")[0] == 403
        host.docker("network", "disconnect", "inner", "two")
        done = host.run("network", "create", "inner")
        assert done.returncode == 1 and "already exists" in done.stderr
    finally:
        host.clean()
        host.docker("network", "rm", "inner")


def test_volumes(host: Host) -> None:
    assert host.docker("volume", "create", "--label", "k=v", "data") == "data"
    host.docker("run", "--rm", "-v", "data:/d", "bb", "sh", "-c", "echo kept >/d/f")
    assert host.docker("run", "--rm", "-v", "data:/d:ro", "bb", "cat", "/d/f") == "kept"
    assert host.docker("volume", "ls", "-q", "--filter", "label=k=v") == "data"
    host.docker("create", "--name", "user", "--mount", "type=volume,src=data,dst=/d", "bb")
    done = host.run("volume", "rm", "data")
    assert done.returncode == 1 and "volume is in use" in done.stderr
    host.docker("rm", "user")
    host.docker("volume", "rm", "data")
    assert "no such volume" in host.run("volume", "inspect", "data").stderr


def test_binds_and_tmpfs(host: Host, tmp_path: Path) -> None:
    (tmp_path / "f").write_text("from outside")
    assert host.docker("run", "--rm", "-v", f"{tmp_path}:/in:ro", "bb", "cat", "/in/f") == "from outside"
    assert host.run("run", "--rm", "-v", f"{tmp_path}:/in:ro", "bb", "touch", "/in/f").returncode == 1
    assert "tmpfs" in host.docker("run", "--rm", "--tmpfs", "/t:size=1m", "bb", "mount")


def test_cp_both_ways(host: Host, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/f").write_text("text")
    host.docker("create", "--name", "box", "bb")
    host.docker("cp", str(tmp_path / "folder"), "box:/tmp/")
    host.docker("cp", "box:/tmp/folder/f", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "text"
    done = host.run("cp", "box:/nope", str(tmp_path))
    assert done.returncode == 1 and "Could not find the file /nope in container box" in done.stderr
    assert "A /tmp/folder" in host.docker("diff", "box")


def test_build_run_tag_and_remove(host: Host, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        'FROM bb\nARG WHO=nobody\nCOPY f /f\nRUN echo $WHO >>/f\nLABEL a=b\nCMD ["cat", "/f"]\n'
    )
    (tmp_path / "f").write_text("file\n")
    said = host.docker("build", "-t", "mine:1", "--build-arg", "WHO=me", str(tmp_path))
    assert "Step 4/6 : RUN echo $WHO >>/f" in said and said.splitlines()[-1] == "Successfully tagged mine:1"
    assert host.docker("run", "--rm", "mine:1") == "file\nme"
    again = host.docker("build", "-t", "mine:1", "--build-arg", "WHO=me", str(tmp_path))
    assert again.count(" ---> Using cache") == 5  # all but FROM
    image = host.docker("build", "-q", "--build-arg", "WHO=me", str(tmp_path))
    assert image == host.docker("images", "-q", "--no-trunc", "mine:1")
    host.docker("tag", "mine:1", "mine:2")
    assert "CMD" in host.docker("history", "--format", "{{.CreatedBy}}", "mine:1")
    assert "Untagged: mine:1" in host.docker("rmi", "mine:1")
    assert "Deleted: sha256:" in host.docker("rmi", "mine:2")
    blank = host.run("rmi", " ")
    assert blank.returncode == 1 and "image name cannot be blank" in blank.stderr
    bad = host.run("import", "http://no-such-host.invalid/x.tar")
    assert bad.returncode == 1 and "no-such-host.invalid does not answer: no such host" in bad.stderr


def test_failing_builds(host: Host) -> None:
    done = host.run("build", "-", input="FROM bb\nRUN exit 3\n")
    assert done.returncode == 3 and "The command '/bin/sh -c exit 3' returned a non-zero code: 3" in done.stderr
    done = host.run("build", "-", input="FROM bb\nNOPE\n")
    assert done.returncode == 1 and "unknown instruction: NOPE" in done.stderr


def test_save_and_load_commit_and_export(host: Host, tmp_path: Path) -> None:
    host.docker("run", "--name", "box", "bb", "sh", "-c", "echo new >/new")
    host.docker("commit", "-c", 'CMD ["cat", "/new"]', "box", "changed:1")
    host.docker("save", "-o", str(tmp_path / "image.tar"), "changed:1")
    host.docker("rmi", "changed:1")
    assert host.docker("load", "-i", str(tmp_path / "image.tar")) == "Loaded image: changed:1"
    assert host.docker("run", "--rm", "changed:1") == "new"
    host.docker("export", "-o", str(tmp_path / "tree.tar"), "box")
    listed = subprocess.run(["tar", "tf", tmp_path / "tree.tar"], capture_output=True, text=True, check=True).stdout
    assert "new" in listed.split()
    host.docker("rmi", "changed:1")


def test_events_have_history_and_filters(host: Host) -> None:
    start = str(time.time() - 0.01)
    host.run("run", "--rm", "--name", "seen", "--label", "x=y", "bb", "false")
    time.sleep(0.01)
    until = str(time.time())
    lines = host.docker(
        "events", "--since", start, "--until", until, "--filter", "label=x=y", "--format", "{{json .}}"
    ).splitlines()
    events = [json.loads(line) for line in lines]
    actions = [event["Action"] for event in events]
    life = ["create", "attach", "start", "die", "destroy"]
    assert [action for action in actions if action in life] == life
    died = next(event for event in events if event["Action"] == "die")
    assert died["Actor"]["Attributes"] == {"exitCode": "1", "image": "bb", "name": "seen", "x": "y"}


def test_top_stats_and_update(host: Host) -> None:
    host.docker("run", "-d", "--name", "busy", "-m", "64m", "bb", "sh", "-c", "while :; do :; done")
    assert "while" in host.docker("top", "busy")
    assert "PID" in host.docker("top", "busy", "-o", "pid,comm")
    sample = json.loads(host.docker("stats", "--no-stream", "--format", "{{json .}}", "busy"))
    assert float(sample["CPUPerc"].rstrip("%")) > 5 and sample["MemUsage"].endswith("64MiB")
    host.docker("update", "--memory", "128m", "--memory-swap", "256m", "busy")
    assert host.docker("inspect", "-f", "{{.HostConfig.Memory}}", "busy") == str(128 << 20)


def test_health(host: Host) -> None:
    host.docker("run", "-d", "--name", "well", "--health-cmd", "true", "--health-interval", "100ms", "bb", "sleep", "100")
    for _ in range(100):
        if host.docker("inspect", "-f", "{{.State.Health.Status}}", "well") == "healthy":
            break
        time.sleep(0.05)
    else:
        pytest.fail("never healthy")
    assert "(healthy)" in host.docker("ps", "--filter", "health=healthy", "--format", "{{.Status}}")


def test_system_commands(host: Host) -> None:
    assert json.loads(host.docker("version", "--format", "json"))["Server"]["ApiVersion"] == "1.51"
    assert json.loads(host.docker("info", "--format", "json"))["OSType"] == "linux"
    host.docker("create", "bb")
    assert "Containers" in host.docker("system", "df", "-v") or "CONTAINER ID" in host.docker("system", "df", "-v")
    assert "Total reclaimed space" in host.docker("system", "prune", "-f")
    assert host.docker("ps", "-aq") == ""


@pytest.mark.parametrize("line", ["swarm init", "node ls", "service ls", "plugin install x"])
def test_what_is_not_supported_says_so(host: Host, line: str) -> None:
    done = host.run(*line.split(), input="y\n")
    assert done.returncode == 1
    assert "not supported" in done.stderr or "not a swarm manager" in done.stderr


@pytest.mark.parametrize(
    "options, named",
    [
        (["--storage-opt", "size=1g"], "StorageOpt"),
        (["--log-driver", "syslog"], "syslog"),
        (["--cpu-rt-runtime", "10"], "CpuRealtimeRuntime"),
    ],
)
def test_a_flag_that_is_not_supported_is_refused_by_name(host: Host, options: list[str], named: str) -> None:
    done = host.run("create", *options, "bb")
    assert done.returncode == 1 and named in done.stderr


def test_containers_outlive_the_server_and_a_new_one_carries_on(host: Host) -> None:
    host.docker("run", "-d", "--name", "stays", "bb", "sh", "-c", "echo before; sleep 0.6; echo after; exit 9")
    assert host.stop(9) == -9
    host.start()
    assert host.docker("wait", "stays") == "9"
    assert host.docker("logs", "stays") == "before\nafter"
