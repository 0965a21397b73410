"""Draws the picture of docs/ARCHITECTURE.md from the imports, and holds the line on what a start may import."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "inception"

#: Top to bottom; those on one line are siblings that don't import each other.
LAYERS = [
    ["cli"],
    ["compose"],
    ["api"],
    ["client"],
    ["buildkit"],
    ["build"],
    ["engine"],
    ["monitor"],
    ["runtime", "store", "network"],
    ["oci"],
    ["linux"],
    # Below everything: values and errors that know no other part.
    ["record", "jsontext", "duration", "caching", "preload", "part"],
    ["errors", "_spawn"],
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            if node.module == "inception":
                yield from (f"inception.{alias.name}" for alias in node.names)


def edges():
    for path in sorted(PACKAGE.rglob("*.py")):
        part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        for name in imports(path):
            words = name.split(".")
            if words[0] == "inception" and len(words) > 1 and words[1] in LEVEL:
                yield part, words[1], path.relative_to(PACKAGE)


def test_every_package_has_its_place_in_the_picture():
    found = {
        path.name.removesuffix(".py").split(".")[0]
        for path in PACKAGE.iterdir()
        if path.suffix in (".py", "") and path.name not in ("__init__.py", "__pycache__", "py.typed")
    }
    assert found <= set(LEVEL), f"add {found - set(LEVEL)} to LAYERS and to docs/ARCHITECTURE.md"


def test_what_is_written_into_a_table_names_its_columns():
    """A process that runs on while a newer one adds a column must be able to write still."""
    unnamed = re.compile(r"INTO [a-z_]+ (VALUES|SELECT)")
    assert [str(path) for path in PACKAGE.rglob("*.py") if unnamed.search(path.read_text())] == []


def test_each_package_uses_only_those_below_it():
    wrong = {
        f"{path}: {part} imports {used}"
        for part, used, path in edges()
        if part in LEVEL and part != used and LEVEL[used] <= LEVEL[part]
    }
    assert not wrong


def loaded(*arguments):
    """Names of the modules that `inception ARGUMENTS` has loaded at its end."""
    code = (
        "import sys\n"
        "from inception.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout, set(done.stderr.split())


HEAVY = ["asyncio", "dataclasses", "http", "typing", "inspect", "subprocess", "logging", "urllib", "rich", "yaml", "pathlib"]


@pytest.mark.parametrize("heavy", HEAVY)
def test_version_loads_nothing_heavy(heavy, version_modules):
    assert heavy not in version_modules


@pytest.fixture(scope="module")
def version_modules():
    bare = subprocess.run(
        [sys.executable, "-I", "-c", "import sys; print('\\n'.join(sys.modules))"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    out, modules = loaded("--version")
    assert out.startswith("Inception version ")
    # What the interpreter's own start-up (site, .pth files) brings along is not ours.
    return modules - set(bare.stdout.split())
