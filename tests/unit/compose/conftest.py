from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inception.compose.load import load
from inception.compose.model import Project

Loaded = Callable[..., Project]


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], str]:
    """Writes a file below a folder of its own; answers its path."""

    def write_file(name: str, text: str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
        return str(path)

    return write_file


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def loaded(write: Callable[[str, str], str], warnings: list[str]) -> Loaded:
    """Loads the project of one or more Compose files given as text."""

    def load_texts(*texts: str, env: dict[str, str] | None = None, **options: Any) -> Project:
        names = ["compose.yaml", "second.yaml", "third.yaml"]
        paths = [write(name, text) for name, text in zip(names, texts, strict=False)]
        options.setdefault("project_name", "demo")
        return load(paths, env={"HOME": "/home/me", **(env or {})}, warn=warnings.append, **options)

    return load_texts
