"""Recipes for base images: which names, which mirrors."""

from __future__ import annotations

from pathlib import Path

import pytest

from inception.errors import InvalidArgument, Unavailable
from inception.store.bootstrap import Recipe, check_keyring, find_recipe, is_static, machine_sources, own_sources

DEBIAN = Recipe(distribution="debian", suite="bookworm")
OS_RELEASE = 'ID=debian\nVERSION_CODENAME=bookworm\nPRETTY_NAME="x"\n'


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("debian:bookworm", DEBIAN),
        ("docker.io/library/debian:12", DEBIAN),
        ("debian:bookworm-slim", Recipe(distribution="debian", suite="bookworm", slim=True)),
        ("debian", Recipe(distribution="debian", suite="trixie")),
        ("ubuntu:24.04", Recipe(distribution="ubuntu", suite="noble")),
        ("busybox", Recipe(distribution="busybox", suite="latest")),
        ("ubuntu:noble-slim", None),
        ("debian:nonsense", None),
        ("someone/debian:bookworm", None),
        ("localhost:5000/debian:bookworm", None),
        ("debian@sha256:" + "0" * 64, None),
        ("nginx", None),
    ],
)
def test_a_name_has_a_recipe_or_none(name: str, recipe: Recipe | None) -> None:
    assert find_recipe(name) == recipe


def machine(root: Path, **files: str) -> str:
    (root / "apt/sources.list.d").mkdir(parents=True)
    (root / "os-release").write_text(OS_RELEASE)
    for name, text in files.items():
        (root / "apt" / name.replace("__", "/").replace("_", ".")).write_text(text)
    return str(root)


def test_one_line_sources_of_this_machine_are_taken_over(tmp_path: Path) -> None:
    etc = machine(
        tmp_path,
        sources_list="deb [signed-by=/k.gpg arch=amd64] http://mirror.example/debian bookworm main contrib\n"
        "# deb http://off.example/debian bookworm main\n"
        "deb-src http://src.example/debian bookworm main\n"
        "deb http://other.example/apt stable main\n",
    )
    assert machine_sources(DEBIAN, etc) == (
        "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm\nComponents: main\nSigned-By: /k.gpg\n"
    )


def test_stanzas_are_taken_over_for_another_suite(tmp_path: Path) -> None:
    etc = machine(
        tmp_path,
        sources_list_d__a_sources="# a comment\nTypes: deb deb-src\nURIs: http://m.example/debian\n"
        "Suites: bookworm bookworm-updates bookworm-backports\nComponents: main\n\n"
        "Types: deb\nEnabled: no\nURIs: http://no.example/\nSuites: bookworm\nComponents: main\n",
    )
    text = machine_sources(Recipe(distribution="debian", suite="trixie"), etc)
    assert text == "Types: deb\nURIs: http://m.example/debian\nSuites: trixie trixie-updates\nComponents: main\n"


def test_another_distribution_gets_no_mirror_of_this_machine(tmp_path: Path) -> None:
    etc = machine(tmp_path, sources_list="deb http://mirror.example/debian bookworm main\n")
    assert machine_sources(Recipe(distribution="ubuntu", suite="noble"), etc) == ""


def test_a_dynamic_program_is_told_from_a_static_one() -> None:
    with open("/proc/self/exe", "rb") as file:
        assert not is_static(file.read(1 << 16))
    with pytest.raises(InvalidArgument):
        is_static(b"#!/bin/sh")


def test_a_distribution_whose_keys_are_not_there_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "os-release").write_text("ID=debian\nVERSION_CODENAME=bookworm\n")
    recipe = Recipe(distribution="ubuntu", suite="noble")
    with pytest.raises(
        Unavailable, match=r"ubuntu:noble: the keys of its archive are not on this machine: no .*/ubuntu-archive-"
    ):
        check_keyring(recipe, str(tmp_path), str(tmp_path))
    (tmp_path / "ubuntu-archive-keyring.gpg").touch()
    check_keyring(recipe, str(tmp_path), str(tmp_path))


def test_another_distribution_has_its_own_mirrors() -> None:
    ubuntu = Recipe(distribution="ubuntu", suite="noble")
    assert own_sources(ubuntu, "x86_64") == (
        "Types: deb\nURIs: http://archive.ubuntu.com/ubuntu\nSuites: noble noble-updates noble-security\n"
        "Components: main universe\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n"
    )
    assert "http://ports.ubuntu.com/ubuntu-ports\n" in own_sources(ubuntu, "aarch64")
    debian = own_sources(DEBIAN)
    assert "Suites: bookworm bookworm-updates\n" in debian and "Suites: bookworm-security\n" in debian
