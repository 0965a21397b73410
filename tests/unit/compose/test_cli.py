"""The command line of compose, as far as it needs no engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from inception.cli.compose import COMPOSE, VERBS
from inception.cli.main import main

Write = Callable[[str, str], str]

UP_USAGE = "Usage:  inception compose up [OPTIONS] [SERVICE...]\n\nRun 'inception compose up --help' for more information\n"


@pytest.fixture
def compose(write: Write, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    write("compose.yaml", "services: {web: {image: 'x:${TAG:-1}', command: 'echo $$HOME'}, db: {build: ., profiles: [p]}}\n")

    def call(*words: str) -> tuple[int, str, str]:
        root = str(tmp_path / "root")
        code = main(["--root", root, "--run-root", root, "compose", "-p", "demo", "-f", str(tmp_path / "compose.yaml"), *words])
        assert not os.path.exists(root)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def test_config_prints_and_touches_nothing(compose: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    before = sorted(os.listdir(tmp_path))
    code, out, err = compose("config")
    assert (code, err) == (0, "")
    assert out.startswith("name: demo\nservices:\n  web:\n    command:\n      - echo\n      - $$HOME\n    image: x:1\n")
    assert sorted(os.listdir(tmp_path)) == before


@pytest.mark.parametrize(
    ("words", "output"),
    [
        (["config", "--services"], "web\n"),
        (["--profile", "p", "config", "--services"], "db\nweb\n"),
        (["config", "--images"], "x:1\n"),
        (["--profile", "*", "config", "--images"], "demo-db\nx:1\n"),
        (["config", "--profiles"], "p\n"),
        (
            ["config", "--variables"],
            "NAME      REQUIRED   DEFAULT VALUE   ALTERNATE VALUE\nTAG       false      1               \n",
        ),
        (["config", "--networks"], "default\n"),
        (["config", "-q"], ""),
        (["config", "--no-interpolate", "--images"], "x:${TAG:-1}\n"),
        (["version", "--short"], "0.1.0\n"),
    ],
)
def test_listings(compose: Callable[..., tuple[int, str, str]], words: list[str], output: str) -> None:
    assert compose(*words) == (0, output, "")


def test_a_hash_is_a_line_a_service(compose: Callable[..., tuple[int, str, str]]) -> None:
    code, out, _ = compose("config", "--hash", "web")
    name, digest = out.split()
    assert (code, name, len(digest)) == (0, "web", 64)


def test_output_goes_where_it_is_told(compose: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    assert compose("config", "--format", "json", "-o", str(tmp_path / "out.json"))[0] == 0
    assert (tmp_path / "out.json").read_text().startswith('{\n  "name": "demo",')


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["config", "nope"], 1, "inception: no such service: nope\n"),
        (["config", "--format", "xml"], 1, "inception: unsupported format 'xml'\nhint: yaml and json are\n"),
        (
            ["zzz"],
            1,
            "inception: unknown command: inception compose zzz\n\nRun 'inception compose --help' for more information\n",
        ),
        (
            ["upp"],
            1,
            "inception: unknown command: inception compose upp\n"
            "hint: did you mean 'inception compose up'?\n\nRun 'inception compose --help' for more information\n",
        ),
        (["publish"], 1, "inception: 'compose publish' is not supported: projects are not published to registries\n"),
        (
            ["up", "--nope"],
            125,
            "unknown flag: --nope\n\n" + UP_USAGE,
        ),
        (
            ["up", "--menu"],
            125,
            "--menu is not supported: there are no keys to press in attached mode\n\n" + UP_USAGE,
        ),
        (
            ["up", "-d", "--exit-code-from", "web"],
            1,
            "--exit-code-from and --detach are incompatible\n\nRun 'inception compose up --help' for more information\n",
        ),
        (
            ["up", "--force-recreate", "--no-recreate"],
            1,
            "--force-recreate and --no-recreate are incompatible\n\nRun 'inception compose up --help' for more information\n",
        ),
        (
            ["up", "--build", "--no-build"],
            1,
            "--build and --no-build are incompatible\n\nRun 'inception compose up --help' for more information\n",
        ),
        (["down", "--rmi", "some"], 1, 'inception: invalid value for --rmi: "some"\n'),
    ],
)
def test_refusals(compose: Callable[..., tuple[int, str, str]], words: list[str], code: int, message: str) -> None:
    assert compose(*words) == (code, "", message)


def test_every_verb_has_a_page_and_every_flag_of_it_can_be_read() -> None:
    assert all(f"\n  {name} " in COMPOSE.help("inception compose") for name in VERBS)
    for name, (target, _) in VERBS.items():
        module, _, attribute = target.partition(":")
        command = getattr(__import__(f"inception.cli.{module}", fromlist=[attribute]), attribute)
        assert command.help(f"inception compose {name}").startswith(f"Usage:  inception compose {name}")
        assert command.table() or name == "version"
