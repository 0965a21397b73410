"""The module pack: what comes out of it is what the files say, and what the files no longer say does not come out of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A copy of the package with launchers of its own, written by the project's own tool."""
    folder = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "src/inception", folder / "src/inception", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "tools").mkdir()
    shutil.copy(ROOT / "tools/launchers", folder / "tools/launchers")
    prefix = folder / "venv"
    (prefix / "bin").mkdir(parents=True)
    (prefix / "lib").mkdir()
    (prefix / "bin/python3").symlink_to(sys.executable)
    code = "import sys, runpy; sys.prefix = sys.argv[2]; runpy.run_path(sys.argv[1], run_name='__main__')"
    subprocess.run([sys.executable, "-c", code, folder / "tools/launchers", prefix], check=True)
    return folder


@contextmanager
def put_back(path):
    """Leaves *path* as it was, its times too."""
    content, status = path.read_bytes(), path.stat()
    try:
        yield path
    finally:
        path.write_bytes(content)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def run(checkout, name, *arguments, **options):
    done = subprocess.run(
        [checkout / "venv/bin" / name, *arguments], capture_output=True, text=True, timeout=60, check=False, **options
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def opened(checkout, name, *arguments):
    """The Python files of ours that a command opened."""
    trace = checkout / "trace"
    subprocess.run(
        ["strace", "-f", "-e", "trace=openat", "-o", trace, checkout / "venv/bin" / name, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    return [
        line.split('"')[1] for line in trace.read_text().splitlines() if f"{checkout}/src/inception" in line and ".pyc" in line
    ]


def test_both_commands_run_out_of_the_pack(checkout):
    assert "spec: " in run(checkout, "inception-runc", "--version")
    assert run(checkout, "inception", "--version").startswith("Inception version")


@pytest.mark.needs("strace")
def test_no_file_of_ours_is_opened_while_the_pack_is_current(checkout):
    assert opened(checkout, "inception-runc", "features") == []
    assert opened(checkout, "inception", "help", "run") == []


@pytest.mark.needs("strace")
def test_a_plain_listing_of_images_comes_without_most_of_python(checkout, tmp_path):
    words = ("inception", "--root", tmp_path / "root", "--run-root", tmp_path / "run")
    heading = run(checkout, *words, "images")  # there is no store yet, so this is the ordinary command
    assert heading.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert run(checkout, *words, "images") == heading
    assert opened(checkout, *words, "images") == []
    assert "/os." not in (checkout / "trace").read_text()
    assert "/root/state.db" in (checkout / "trace").read_text()


def test_a_changed_source_wins_over_the_pack(checkout):
    with put_back(checkout / "src/inception/__init__.py") as source:
        source.write_text(source.read_text().replace('__version__ = "', '__version__ = "9.'))
        assert "9." in run(checkout, "inception-runc", "--version")
        assert "9." in run(checkout, "inception", "--version")


def test_a_module_that_is_gone_is_missed(checkout):
    with put_back(checkout / "src/inception/runtime/cli_spec.py") as source:
        source.unlink()
        done = subprocess.run([checkout / "venv/bin/inception-runc", "features"], capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "cli_spec" in done.stderr


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_bytes(b"INCPACK1 of another Python")])
def test_without_a_pack_of_this_python_everything_still_runs(checkout, damage):
    with put_back(checkout / "venv/lib/inception/modules.pack") as pack:
        damage(pack)
        assert "spec: " in run(checkout, "inception-runc", "--version")


def test_helpers_are_started_out_of_the_pack_too(checkout):
    part = checkout / "venv/lib/inception/part"
    done = subprocess.run(
        [sys.executable, "-IS", part, "inception.store.worker", "{"], capture_output=True, text=True, check=False
    )
    assert "JSONDecodeError" in done.stderr
    assert os.access(part, os.X_OK)


def test_tracebacks_and_stated_places_are_those_of_the_source(checkout):
    code = (
        "import marshal, posix, sys; text = open(sys.argv.pop(1)).read(); "
        "exec(text.partition('\\nif ')[0]); "
        "import inception.errors as e; print(e.__file__, e.__spec__.origin, e.__package__)"
    )
    done = subprocess.run(
        [sys.executable, "-ISc", code, checkout / "venv/bin/inception"], capture_output=True, text=True, check=True
    )
    path = f"{checkout}/src/inception/errors.py"
    assert done.stdout.split() == [path, path, "inception"]
