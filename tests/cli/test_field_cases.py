"""What users of Docker rely on and its own suites ask for: one case each, in our words."""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.needs("root", "busybox")
QUIET = ("--network", "none")


def run(cli, *argv: str) -> str:  # type: ignore[no-untyped-def]
    return str(cli("run", "--rm", *QUIET, *argv))


def test_a_read_only_root_has_read_only_files_of_the_network(cli):
    script = "for file in hosts hostname resolv.conf; do echo x >>/etc/$file && echo written; done; true"
    done = cli.run("run", "--rm", "--read-only", *QUIET, "busybox", "sh", "-c", script)
    assert done.stdout == "" and done.stderr.count("Read-only file system") == 3


def test_cp_writes_into_no_read_only_mount(cli, tmp_path):
    (tmp_path / "file").write_text("x")
    cli("create", "--name", "guarded", *QUIET, "-v", "guarded:/kept:ro", "-v", "open:/kept/open", "--read-only", "busybox")
    try:
        source = str(tmp_path / "file")
        assert cli.fails("cp", source, "guarded:/kept/x") == (1, "inception: mounted volume is marked read-only\n")
        assert cli.fails("cp", source, "guarded:/x") == (1, "inception: container rootfs is marked read-only\n")
        cli("cp", source, "guarded:/kept/open/x")
        assert "Could not find the file /none in container guarded" in cli.fails("cp", "guarded:/none", "-")[1]
        assert "not a directory" in cli.fails("cp", f"{source}/", "guarded:/kept/open")[1]
    finally:
        cli("rm", "-f", "guarded")
        cli("volume", "rm", "guarded", "open")


def test_unconfined_asks_nothing_of_a_kernel_without_apparmor(cli):
    assert run(cli, "--security-opt", "apparmor=unconfined", "busybox", "echo", "ran") == "ran\n"


def test_an_empty_entrypoint_takes_the_images_command_with_it(cli):
    assert cli.fails("run", "--rm", *QUIET, "--entrypoint", "", "busybox")[1].startswith("inception: no command specified")
    assert run(cli, "--entrypoint", "", "busybox", "echo", "own") == "own\n"


def test_mounts_that_say_the_same_are_one_and_any_mount_beats_an_anonymous_volume(cli):
    assert "x" in run(cli, "-v", "/etc:/seen", "-v", "/etc:/seen", "busybox", "sh", "-c", "echo x; ls /seen")
    assert run(cli, "-v", "/t", "--tmpfs", "/t", "busybox", "grep", "-c", "tmpfs /t ", "/proc/mounts") == "1\n"
    assert "Duplicate mount point: /seen" in cli.fails("create", "-v", "/etc:/seen", "-v", "/usr:/seen", "busybox")[1]
    assert 'invalid tmpfs option ["wrong"]' in cli.fails("create", "--tmpfs", "/t:wrong", "busybox")[1]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--network", "container:"], "invalid network mode: invalid container format container:<name|id>"),
        (["--network", "host", "--link", "a:b"], "conflicting options: host type networking can't be used with links"),
        (["--network", "container:a", "--link", "a:b"], "conflicting options: container type network can't be used with links"),
        (["--network", "host", "--mac-address", "02:00:00:00:00:01"], "conflicting options: mac-address and the network mode"),
        (["--network", "none", "--ip", "10.0.0.9"], "user specified IP address is supported on user defined networks only"),
        (["--link", "a:b:c"], 'invalid argument "a:b:c" for "--link" flag: bad format for links: a:b:c'),
        (["--dns-search", "-x"], 'invalid argument "-x" for "--dns-search" flag: -x is not a valid domain'),
        (["--memory-reservation", "1k"], "Minimum memory reservation allowed is 6MB"),
        (["-v", "a/b:/c"], '"a/b" includes invalid characters for a local volume name'),
        (["-v", "a:/c"], "create a: volume name is too short, names should be at least two alphanumeric characters"),
        (["--log-opt", "tag={{.Nope}}"], "log opt tag: {{.Nope}} is not known"),
        (["--log-opt", "labels-regex=("], "log opt labels-regex"),
    ],
)
def test_what_makes_no_sense_is_refused_in_dockers_words(cli, flags, words):
    code, text = cli.fails("run", "--rm", *flags, "busybox", "true")
    assert code == 125 and words in text


def test_a_resolver_on_this_machine_is_warned_of(cli):
    done = cli.run("run", "--rm", "--dns", "127.0.0.1", *QUIET, "busybox", "true")
    assert (done.returncode, done.stderr) == (0, "WARNING: Localhost DNS (127.0.0.1) may fail in containers.\n")


def test_a_log_keeps_what_its_options_ask_for_beside_each_line(cli):
    options = ["labels=tier", "env-regex=^APP_", "tag={{.Name}}/{{.ID}}"]
    flags = [word for option in options for word in ("--log-opt", option)]
    labels = ["--label", "tier=front", "--label", "other=x", "-e", "APP_MODE=a b", "-e", "HIDDEN=1"]
    cli("run", "--name", "told", *QUIET, *flags, *labels, "busybox", "echo", "said")
    try:
        id = cli("ps", "-aq", "--filter", "name=told").strip()
        assert cli("logs", "--details", "told") == f"APP_MODE=a+b,tag=told%2F{id},tier=front said\n"
        assert cli("logs", "told") == "said\n"
        path = json.loads(cli("inspect", "told"))[0]["LogPath"]
        record = json.loads(open(path).read())
        assert record["attrs"] == {"APP_MODE": "a b", "tag": f"told/{id}", "tier": "front"}
    finally:
        cli("rm", "told")


def test_diff_shows_no_folder_that_only_a_mount_needed(cli):
    cli("run", "--name", "clean", *QUIET, "busybox", "touch", "/made")
    try:
        assert cli("diff", "clean") == "A /made\n"
    finally:
        cli("rm", "clean")


def test_a_set_prints_as_go_prints_it(cli):
    cli("create", "--name", "sets", "--expose", "80", "-v", "/data", *QUIET, "busybox")
    try:
        assert cli("inspect", "-f", "{{.Config.ExposedPorts}}", "sets") == "map[80/tcp:{}]\n"
        assert "template parsing error: template: :1:2: executing" in cli.fails("inspect", "-f", "{{.Nope}}", "sets")[1]
    finally:
        cli("rm", "-v", "sets")


def test_an_image_event_names_the_name_that_was_given(cli):
    cli("tag", "busybox", "renamed:now")
    cli("rmi", "renamed:now")
    shown = cli(
        "events",
        "--since",
        "1m",
        "--until",
        "0s",
        "--filter",
        "image=renamed",
        "--format",
        "{{.Action}} {{.Actor.Attributes.name}}",
    )
    assert shown.splitlines()[-2:] == ["tag renamed:now", "untag renamed:now"]


def test_a_network_that_is_not_there_is_no_error_with_force_and_not_named(cli):
    assert cli("network", "rm", "-f", "ghost") == ""
    assert 'only one instance of "host" network is allowed' in cli.fails("network", "create", "-d", "host", "second")[1]


def test_another_images_files_are_mounted_read_only_and_stay_when_its_name_goes(cli, tmp_path):
    lines = [
        "FROM busybox",
        "RUN mkdir -p /d/e && echo 1 >/d/e/gone && echo 2 >/d/e/kept",
        "RUN rm /d/e/gone && echo 3 >/d/e/new",
    ]
    (tmp_path / "Dockerfile").write_text("\n".join(lines))
    cli("build", "-q", "-t", "lent", str(tmp_path))
    mount = "type=image,source=lent,target=/in"
    try:
        assert run(cli, "--mount", f"{mount},image-subpath=d/e", "busybox", "ls", "/in") == "kept\nnew\n"
        assert run(cli, "--mount", f"{mount},image-subpath=d/e/kept", "busybox", "cat", "/in") == "2\n"
        assert (
            "cannot access path d/e/gone in image lent"
            in cli.fails("run", "--rm", *QUIET, "--mount", f"{mount},image-subpath=d/e/gone", "busybox", "true")[1]
        )
        cli("run", "-d", "--name", "borrower", *QUIET, "--mount", mount, "busybox", "sleep", "100")
        cli("rmi", "-f", "lent")
        cli("restart", "-t", "0", "borrower")
        assert cli("exec", "borrower", "cat", "/in/d/e/new") == "3\n"
        assert "Read-only file system" in cli.fails("exec", "borrower", "touch", "/in/x")[1]
        assert json.loads(cli("inspect", "borrower"))[0]["Mounts"][0]["Type"] == "image"
        assert "No such image: lent" in cli.fails("create", "--mount", mount, "busybox")[1]
        assert 'target(<rootfs>, "/in"' in run(cli, "--explain", "--mount", "type=image,source=busybox,target=/in", "busybox")
    finally:
        cli.run("rm", "-f", "borrower")
    snapshots = cli.root / "snapshots"
    assert len(list(snapshots.iterdir())) == len(cli("ps", "-aq").split())


def test_what_is_mounted_below_a_folder_comes_along_as_it_is_asked(cli, tmp_path):
    import subprocess

    below = tmp_path / "below"
    below.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", str(below)], check=True)
    try:
        (below / "seen").touch()
        mount = f"type=bind,source={tmp_path},target=/in"
        assert run(cli, "--mount", mount, "busybox", "ls", "/in/below") == "seen\n"
        assert run(cli, "--mount", f"{mount},bind-recursive=disabled", "busybox", "ls", "/in/below") == ""
        script = "touch /in/x; touch /in/below/x; true"
        writable = cli.run(
            "run", "--rm", *QUIET, "--mount", f"{mount},ro,bind-recursive=writable", "busybox", "sh", "-c", script
        )
        assert writable.stderr.count("Read-only file system") == 1
        strict = f"{mount},ro,bind-recursive=readonly,bind-propagation=rprivate"
        strict_done = cli.run("run", "--rm", *QUIET, "--mount", strict, "busybox", "sh", "-c", script)
        assert strict_done.stderr.count("Read-only file system") == 2
    finally:
        subprocess.run(["umount", str(below)], check=True)


def test_annotations_are_kept_and_a_gpu_that_is_not_there_is_said(cli):
    cli("create", "--name", "noted", "--annotation", "team=a", *QUIET, "busybox")
    try:
        assert json.loads(cli("inspect", "noted"))[0]["HostConfig"]["Annotations"] == {"team": "a"}
    finally:
        cli("rm", "noted")
    code, text = cli.fails("run", "--rm", "--gpus", "device=none-such,driver=none", *QUIET, "busybox", "true")
    assert code == 125 and 'could not select device driver "none" with capabilities: [[gpu]]' in text
    assert cli("ps", "-aq") == ""


def test_a_seccomp_profile_must_be_one_and_is_never_printed(cli, tmp_path):
    for text in ("root:x:0:0\n", "[1]"):
        (tmp_path / "profile").write_text(text)
        code, words = cli.fails("run", "--rm", "--security-opt", f"seccomp={tmp_path}/profile", "busybox", "true")
        assert code == 125 and f"compacting json for seccomp profile ({tmp_path}/profile) failed" in words
        assert "root:x" not in words
    assert 'invalid --security-opt: "seccomp="' in cli.fails("create", "--security-opt", "seccomp=", "busybox")[1]


def test_global_flags_of_dockers_client(cli, tmp_path):
    assert cli("--config", str(tmp_path), "--log-level", "warn", "ps", "-q") == ""
    done = cli.run("--config", str(tmp_path), "logout", "example.com")
    assert (done.returncode, done.stdout) == (0, "Not logged in to example.com\n")
    assert cli.fails("-l", "loud", "ps")[0] == 125
    assert cli.fails("help", "nope") == (1, "inception: unknown help topic: nope\n")
    assert "Usage:  inception volume COMMAND" in cli.fails("volume", "nope")[1]
