"""What Compose files of the field say, as Docker Compose 2.40 prints it: one case each, in our words."""

from __future__ import annotations

from textwrap import indent

import pytest

from inception.compose.emit import config_tree, to_yaml
from inception.errors import InceptionError

from .conftest import Loaded


def service(body: str) -> str:
    return "services:\n  a:\n    image: x\n" + indent(body.strip("\n"), "    ") + "\n"


def shown(loaded: Loaded, *texts: str, **options: object) -> dict[str, object]:
    """The service `a` as `config` shows it."""
    return config_tree(loaded(*texts, **options))["services"]["a"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("first", "second", "key", "expected"),
    [
        ("build: {context: /x}", "build: {dockerfile: D}", "build", {"context": "/x", "dockerfile": "D"}),
        ("build: {dockerfile: D}", "build: {context: /y}", "build", {"context": "/y", "dockerfile": "D"}),
        ("ulimits: {nproc: {soft: 1, hard: 2}}", "ulimits: {nproc: 7}", "ulimits", {"nproc": 7}),
        ("ulimits: {nproc: 7}", "ulimits: {nproc: {soft: 1, hard: 2}}", "ulimits", {"nproc": {"soft": 1, "hard": 2}}),
        ("hostname: h", "hostname:", "hostname", "h"),
        ("command: c", "command:", "command", None),
        ("entrypoint: [e]", "entrypoint:", "entrypoint", None),
        ("environment: {A: b, C: d}", "environment: {A: }", "environment", {"A": None, "C": "d"}),
    ],
)
def test_a_second_file_over_the_first(loaded: Loaded, first: str, second: str, key: str, expected: object) -> None:
    assert shown(loaded, service(first), service(second)).get(key) == expected


@pytest.mark.parametrize(
    ("body", "key", "expected"),
    [
        ("devices: ['/dev/a:/dev/b', '/dev/c:/dev/b:r']", "devices", [["/dev/c", "/dev/b"]]),
        ("volumes: ['/a:/x', '/b:/x']", "volumes", [["/b", "/x"]]),
        ("volumes: [./a/../b:/x, '/a/../c:/y']", "volumes", [["{dir}/b", "/x"], ["/a/../c", "/y"]]),
    ],
)
def test_of_two_that_say_one_place_the_later_counts(
    loaded: Loaded, tmp_path: object, body: str, key: str, expected: list[list[str]]
) -> None:
    entries = shown(loaded, service(body))[key]
    assert isinstance(entries, list)
    wanted = [[text.replace("{dir}", str(tmp_path)) for text in pair] for pair in expected]
    assert [[entry["source"], entry["target"]] for entry in entries] == wanted


def test_an_entry_given_twice_is_one(loaded: Loaded) -> None:
    a = shown(loaded, service("dns: [1.1.1.1, 1.1.1.1]\ncap_add: [A, B, A]\ntmpfs: [/q, /q]"))
    assert (a["dns"], a["cap_add"], a["tmpfs"]) == (["1.1.1.1"], ["A", "B"], ["/q"])


def test_durations_have_days_and_weeks(loaded: Loaded) -> None:
    check = shown(loaded, service("healthcheck: {test: x, timeout: 1d, start_period: 1w2d3h, interval: 1.5s}"))["healthcheck"]
    assert isinstance(check, dict)
    assert (check["timeout"], check["start_period"], check["interval"]) == ("24h0m0s", "219h0m0s", "1.5s")
    with pytest.raises(InceptionError, match="unknown unit"):
        loaded(service("healthcheck: {test: x, timeout: 1y}"))


def test_a_name_in_a_file_is_made_one_and_a_name_that_is_given_must_be_one(loaded: Loaded) -> None:
    assert loaded("name: Foo Bar\n" + service(""), project_name="").name == "foobar"
    with pytest.raises(InceptionError, match="invalid project name"):
        loaded(service(""), project_name="Foo Bar")


def test_requests_for_devices(loaded: Loaded) -> None:
    body = """
gpus: all
deploy:
  resources:
    reservations:
      devices:
        - {capabilities: [gpu, utility], driver: nvidia, count: 2, options: {v: false}}
        - {capabilities: [tpu]}
"""
    a = shown(loaded, service(body))
    assert a["gpus"] == [{"count": -1}]
    first, second = a["deploy"]["resources"]["reservations"]["devices"]  # type: ignore[index]
    assert list(first.items()) == [
        ("capabilities", ["gpu", "utility"]),
        ("driver", "nvidia"),
        ("count", 2),
        ("options", {"v": "false"}),
    ]
    assert second == {"capabilities": ["tpu"], "count": -1}


def test_dollar_signs_of_keys_are_doubled_too_and_fields_of_endpoints_are_in_order(loaded: Loaded) -> None:
    a = shown(loaded, service("environment: {'$FOO': x}\nnetworks: {default: {priority: 5, gw_priority: 3, aliases: [q]}}"))
    assert a["environment"] == {"$$FOO": "x"}
    assert list(a["networks"]["default"]) == ["aliases", "gw_priority", "priority"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        ("2001-01-01", '"2001-01-01"'),
        ("2001-01-01x", "2001-01-01x"),
        ("bell\a", '"bell\\a"'),
        ("\na", "|2-\n\n  a"),
        ("  a\nb", "|2-\n    a\n  b"),
        ("\ta\nb", "|-\n  \ta\n  b"),
        ("a \nb", '"a \\nb"'),
    ],
)
def test_strings_as_go_writes_them(value: str, printed: str) -> None:
    assert to_yaml({"k": value}) == f"k: {printed}\n"


@pytest.mark.parametrize(("text", "words"), [("A B=c\n", "key cannot contain a space"), ("A=1\nexport B C\n", "space")])
def test_a_variable_has_no_space_in_its_name(loaded: Loaded, write: object, text: str, words: str) -> None:
    write("e.env", text)  # type: ignore[operator]
    with pytest.raises(InceptionError, match=words):
        loaded(service("env_file: e.env"))
    write("e.env", "export D=1\n")  # type: ignore[operator]
    with pytest.raises(InceptionError, match="contains whitespaces"):
        loaded(service("env_file: [{path: e.env, format: raw}]"))


def test_variables_are_found_however_they_are_nested() -> None:
    from inception.compose.variables import variables_of

    tree = {"a": ["$ONE-${TWO:-${THREE:?say}}", {"b": "$$NOT ${FOUR:+four} ${ FIVE"}], "$SIX": 7}
    assert [(each.name, each.required, each.default, each.presence) for each in variables_of(tree)] == [
        ("FOUR", False, "", "four"),
        ("ONE", False, "", ""),
        ("THREE", True, "", ""),
        ("TWO", False, "${THREE:?say}", ""),
    ]


def test_without_interpolation_every_string_stays_as_it_is_written(loaded: Loaded) -> None:
    project = loaded(service("environment: {A: '${B:-c}', D: '$$E'}"), interpolated=False)
    shown = config_tree(project, escape=False)["services"]["a"]["environment"]
    assert shown == {"A": "${B:-c}", "D": "$$E"}
