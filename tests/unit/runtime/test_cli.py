"""inception-runc's command line as text: options, signals, sizes, shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inception.errors import InvalidArgument
from inception.runtime.cli import GLOBAL, VERBS, Call, run
from inception.runtime.cli_control import _from_options, _without_zeroes, parse_signal
from inception.runtime.cli_help import OPTIONS
from inception.runtime.cli_show import pretty


def call(verb: str, *words: str) -> Call:
    return Call(list(words), VERBS[verb])


def test_options_may_follow_the_id_but_not_in_exec():
    assert call("kill", "web", "KILL", "--all").on("all")
    found = call("exec", "--env", "A=b", "-e=C=d", "web", "ls", "--all", "-l")
    assert found.arguments == ["web", "ls", "--all", "-l"] and found.values["env"] == ["A=b", "C=d"]


def test_switches_take_no_word_and_may_be_false():
    assert call("run", "-d", "web").arguments == ["web"]
    assert not call("run", "--detach=false", "web").on("detach")
    assert call("run", "--", "-web").arguments == ["-web"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--none", "web"], "flag provided but not defined: -none"),
        (["web", "--bundle"], "flag needs an argument: -bundle"),
        (["--detach=perhaps", "web"], "invalid boolean value 'perhaps' for -detach"),
    ],
)
def test_a_wrong_option_is_named(words: list[str], message: str):
    with pytest.raises(InvalidArgument) as error:
        call("run", *words)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("KILL", 9),
        ("SIGTERM", 15),
        ("hup", 1),
        ("9", 9),
        ("RTMIN", 34),
        ("RTMIN+3", 37),
        ("SIGRTMAX-1", 63),
        ("64", 64),
        ("0", 0),
    ],
)
def test_signals_by_name_and_number(text: str, number: int):
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "65", "-9", "NONE", "RTMIN+", "RTMIN+40", "9 ", "٩"])
def test_other_signals_are_refused(text: str):
    with pytest.raises(InvalidArgument):
        parse_signal(text)


def test_limits_come_from_options_and_zero_leaves_them():
    found = _from_options(call("update", "--memory", "64m", "--cpu-share", "512", "--cpuset-cpus", "0-1", "web"))
    assert found == {"memory": {"limit": 64 << 20}, "cpu": {"shares": 512, "cpus": "0-1"}}
    assert _without_zeroes({"memory": {"limit": 0, "swap": 5}, "cpu": {"cpus": ""}, "devices": []}) == {"memory": {"swap": 5}}


def test_json_for_people_is_the_json_packages():
    value = {"a": [1, {"b": None}], "c": {}, "d": [], "e": 'x\n"é'}
    assert pretty(value) == json.dumps(value, indent=2)


def test_errors_are_one_line_and_in_the_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    log = tmp_path / "log"
    root = ["--root", str(tmp_path / "root"), "--log", str(log), "--log-format", "json"]
    assert run([*root, "state", "web"]) == 1
    assert capsys.readouterr().err == "container does not exist: web\n"
    assert json.loads(log.read_text())["msg"] == "container does not exist: web"
    assert run([*root, "exec", "web", "true"]) == 255
    assert run([*root, "nothing"]) == 3
    assert run([*root, "state"]) == 1 and '"state" expects CONTAINER-ID' in capsys.readouterr().err


@pytest.mark.parametrize("id", ["", ".", "..", "../x", "a/b", "a b", "@seccomp", "x" * 2000])
def test_ids_that_could_lead_anywhere_are_refused(id: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["--root", str(tmp_path), "delete", "--force", id]) == 1
    assert "invalid container ID" in capsys.readouterr().err


def test_a_help_page_for_each_command(capsys: pytest.CaptureFixture[str]):
    for verb in VERBS:
        assert run([verb, "--help"]) == 0
        assert f"inception-runc {verb}" in capsys.readouterr().out


def test_features_and_spec_are_made_of_what_the_runtime_knows(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run(["features"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"rro", "idmap", "tmpcopyup"} <= set(told["mountOptions"]) and "time" in told["linux"]["namespaces"]
    assert run(["spec", "--bundle", str(tmp_path)]) == 0 and run(["spec", "--bundle", str(tmp_path)]) == 1
    from inception.jsontext import loads
    from inception.oci.runtime import Spec
    from inception.record import decode
    from inception.runtime.validate import check_spec

    check_spec(decode(Spec, loads((tmp_path / "config.json").read_text()), unknown="error"))


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_a_help_page_says_what_every_option_means(verb: str, capsys: pytest.CaptureFixture[str]):
    assert run([verb, "--help"] if verb else ["--help"]) == 0
    known = VERBS[verb] if verb else GLOBAL
    lines = capsys.readouterr().out.partition("OPTIONS:\n")[2].splitlines()
    assert len(lines) == len(known.valued | known.switches)
    for line in lines:
        option, _, meaning = line.strip().partition("  ")
        assert meaning.strip(), f"{option} has no meaning"
        name, _, value = option.rpartition("--")[2].partition(" ")
        assert bool(value) == (name in known.valued), (
            f"{option}: a value is shown for an option that takes none, or the reverse"
        )


def test_no_meaning_is_left_of_an_option_that_is_gone():
    taken = frozenset().union(*(verb.valued | verb.switches for verb in [GLOBAL, *VERBS.values()]))
    assert set(OPTIONS) == taken
