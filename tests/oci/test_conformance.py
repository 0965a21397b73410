"""The runtime specification, clause by clause, on our runtime; and on runc, which shows that a case asks the right thing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cases import Case
from .dropin_cases import CASES
from .harness import Runtime, cgroups_named
from .report import DEVIATIONS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def _check(name: str, case: Case, folder: Path) -> None:
    runtime = Runtime(name, folder)
    try:
        case.check(runtime)
    finally:
        runtime.close()


def _ids(case: Case) -> str:
    return case.id


@pytest.mark.needs("root", "busybox")
@pytest.mark.parametrize("case", [case for case in CASES if case.id not in DEVIATIONS["inception-runc"]], ids=_ids)
def test_ours(case: Case, folder: Path) -> None:
    _check("inception-runc", case, folder)


@pytest.mark.needs("root", "busybox", "runc")
@pytest.mark.parametrize("case", [case for case in CASES if case.id not in DEVIATIONS["runc"]], ids=_ids)
def test_the_case_on_runc(case: Case, folder: Path) -> None:
    _check("runc", case, folder)


@pytest.fixture(autouse=True)
def no_cgroup_is_left(folder: Path) -> Iterator[None]:
    yield
    left = cgroups_named(f"itest-{os.getpid()}-*")
    assert not left, left
