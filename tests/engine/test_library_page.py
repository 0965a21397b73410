"""docs/library.md runs as it stands, and prints what it says."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

import inception

PAGE = Path(__file__).parents[2] / "docs/library.md"
COMPOSE = """
name: site
services:
  web:
    image: busybox
    command: sleep 60
    init: true
    healthcheck: {test: "true", interval: 1s}
"""


@pytest.mark.needs("root", "nft")
def test_the_librarys_page_runs_as_it_stands(roots: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inception.engine import supervisor

    (tmp_path / "site").mkdir()
    (tmp_path / "site/compose.yaml").write_text(COMPOSE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INCEPTION_ROOT", roots[0])
    monkeypatch.setenv("INCEPTION_RUN_ROOT", roots[1])
    monkeypatch.setattr(supervisor, "_default", None)  # `run` without an engine has one of these roots
    code = "\n".join(line[4:] for line in PAGE.read_text().splitlines() if not line or line.startswith("    "))
    expected = re.findall(r"^ *print\(.*\) +# (.*)$", code, re.MULTILINE)
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        exec(compile(code, str(PAGE), "exec"), {})
    supervisor._default.close()  # type: ignore[union-attr]
    assert len(expected) > 8 and [line for line in said.getvalue().splitlines() if line in expected] == expected
    assert "stdout one" in said.getvalue() and "stderr two" in said.getvalue()


def test_help_shows_what_is_imported_when_first_used() -> None:
    assert {"Engine", "run", "Healthcheck", "NotFound"} <= set(dir(inception))
    assert all(getattr(inception, name) is not None for name in inception.__all__)
