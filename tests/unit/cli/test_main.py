"""The command as a whole: what it imports, and how it ends when something goes wrong."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from inception.cli import main as cli
from inception.cli.call import Settings
from inception.cli.flags import Command
from inception.errors import InvalidArgument, NotModified, StartFailed

HEAVY = {
    "typing",
    "dataclasses",
    "json",
    "asyncio",
    "subprocess",
    "logging",
    "urllib",
    "pathlib",
    "tempfile",
    "shutil",
    "sqlite3",
}


SEE = "\nRun 'inception --help' for more information\n"


def imported_by(*argv: str) -> set[str]:
    code = (
        "import sys\nfrom inception.cli.main import main\n"
        f"try:\n    main({list(argv)!r})\nfinally:\n    sys.stderr.write('\\n' + ' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)
    return set(done.stderr.splitlines()[-1].split())


def imported_at_start() -> set[str]:
    code = "import sys; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_version_imports_nothing_but_itself():
    added = imported_by("--version") - imported_at_start()
    assert not added & (HEAVY | {"re", "enum", "socket", "signal", "functools"}), added
    assert not {
        name for name in added if name.startswith("inception.") and name.split(".")[1] not in ("cli", "errors", "preload")
    }


def test_the_flags_of_run_import_nothing_heavy():
    added = imported_by("run", "--nope") - imported_at_start()
    assert not added & HEAVY, added & HEAVY


def command(run, **fields):  # type: ignore[no-untyped-def]
    return Command(run, "[OPTIONS]", "Try it", **fields)


def outcome(run, capsys, *, debug: bool = False, **fields):  # type: ignore[no-untyped-def]
    code = cli.run_command(command(run, **fields), "inception try", "", Settings(debug=debug), [])
    return code, capsys.readouterr().err


def raising(error: BaseException):  # type: ignore[no-untyped-def]
    def run(*_call):  # type: ignore[no-untyped-def]
        raise error

    return run


def test_an_error_is_told_once_with_its_hint(capsys):
    code, text = outcome(raising(InvalidArgument("web: no", "try yes")), capsys)
    assert (code, text) == (1, "inception: web: no\nhint: try yes\n")


def test_run_points_to_its_help_and_exits_with_125(capsys):
    code, text = outcome(raising(InvalidArgument("no")), capsys, error_exit_code=125)
    assert (code, text) == (125, "inception: no\n\nRun 'inception try --help' for more information\n")


def test_what_can_not_be_started_has_its_own_exit_code(capsys):
    assert outcome(raising(StartFailed("x", exit_code=127)), capsys, start_exit_codes=True)[0] == 127
    assert outcome(raising(StartFailed("x", exit_code=127)), capsys)[0] == 1


def test_a_bug_in_run_does_not_look_like_the_containers_own_exit_code(capsys):
    code, text = outcome(raising(RuntimeError("boom")), capsys, error_exit_code=125)
    assert code == 125 and text.startswith("inception: internal error: RuntimeError: boom\nhint: this is a bug")


def test_what_is_done_already_is_no_failure(capsys):
    assert outcome(raising(NotModified("x")), capsys) == (0, "")


def test_files_that_are_not_there_are_told_as_go_does(capsys):
    assert outcome(lambda _call: len(open("/none").read()), capsys)[1] == "inception: open /none: no such file or directory\n"


def test_debug_shows_the_causes_and_where_they_were_raised(capsys):
    def run(_call):  # type: ignore[no-untyped-def]
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise InvalidArgument("outer") from error

    text = outcome(run, capsys, debug=True)[1]
    assert "inception: outer\ndebug: InvalidArgument: outer (" in text and "debug: KeyError: 'inner' (" in text
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["nope"], 1, "inception: unknown command: inception nope\n" + SEE),
        (["pss"], 1, "inception: unknown command: inception pss\nhint: did you mean 'inception ps'?\n" + SEE),
        (["image", "lss"], 1, "inception: unknown command: inception image lss\nhint: did you mean 'inception image ls'?\n"
                              "\nUsage:  inception image COMMAND\n\nRun 'inception image --help' for more information\n"),
        (["swarm", "init"], 1, "inception: 'swarm' is not supported: Swarm is not supported\n"),
        (["--nope"], 125, "inception: unknown flag: --nope\nhint: see 'inception --help'\n"),
        (["--root"], 125, "inception: flag needs an argument: --root\nhint: see 'inception --help'\n"),
        (["ps", "--nope"], 125, "unknown flag: --nope\n\nUsage:  inception ps [OPTIONS]\n\n"
                               "Run 'inception ps --help' for more information\n"),
        (["run"], 1, "inception: 'inception run' requires at least 1 argument\n\n"
                     "Usage:  inception run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\n"
                     "Run 'inception run --help' for more information\n"),
    ],
)  # fmt: skip
def test_what_is_mistyped_is_answered_in_dockers_words(argv, code, message, capsys):
    assert cli.main(argv) == code
    assert capsys.readouterr().err == message


def test_bugs_and_ctrl_c_show_no_traceback(capsys, monkeypatch):
    monkeypatch.setattr(cli, "_dispatch", raising(RuntimeError("boom")))
    assert cli.main(["ps"]) == 1
    assert capsys.readouterr().err.startswith("inception: internal error: RuntimeError: boom\nhint: this is a bug")
    monkeypatch.setattr(cli, "_dispatch", raising(KeyboardInterrupt()))
    assert cli.main(["ps"]) == 130
    assert capsys.readouterr().err == ""


def test_whoever_stops_reading_our_output_hears_no_complaint():
    code = "import sys\nfrom inception.cli.main import main\nsys.exit(main(['run', '--help']))"
    process = subprocess.Popen([sys.executable, "-I", "-u", "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 141)


def test_help_lists_every_verb(capsys):
    assert cli.main(["--help"]) == 0
    page = capsys.readouterr().out
    assert page.startswith("Usage:  inception [OPTIONS] COMMAND\n\nContainers without a daemon\n\nCommon Commands:\n  run ")
    for verb in ("unshare", "ns", "compose", "ps", "network"):
        assert f"\n  {verb}" in page
    assert cli.main(["container", "--help"]) == 0
    assert capsys.readouterr().out.startswith("Usage:  inception container COMMAND\n\nManage containers\n")
    assert cli.main(["help", "ps"]) == 0
    assert capsys.readouterr().out.startswith("Usage:  inception ps [OPTIONS]\n\nList containers\n\nAliases:\n")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_hold_the_verbs(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "unshare" in script and "network" in script


def test_the_bash_completion_is_sound_bash(capsys):
    cli.main(["completion", "bash"])
    script = capsys.readouterr().out
    driver = (
        "\nCOMP_WORDS=(inception network c); COMP_CWORD=2; _inception; echo ${COMPREPLY[@]}"
        "\nCOMP_WORDS=(inception run --memory-s); COMP_CWORD=2; _inception; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", script + driver], capture_output=True, text=True, check=True)
    assert done.stdout == "connect create\n--memory-swap --memory-swappiness\n"


def test_an_error_of_the_system_is_told_without_pythons_number():
    missing = PermissionError(errno.EPERM, "nft list table ip x: Operation not permitted")
    assert str(cli._in_words(missing)) == "nft list table ip x: Operation not permitted"
    assert str(cli._in_words(FileNotFoundError(errno.ENOENT, "No such file", "env.list"))) == "open env.list: no such file"
