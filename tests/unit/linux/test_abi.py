"""Numbers come from the C headers, so each call must have one on every architecture that we name."""

import re
from pathlib import Path

import pytest

HEADER = Path(__file__).parents[3] / "src/inception/_spawn_constants.h"
GENERIC = Path("/usr/include/asm-generic/unistd.h")  # what aarch64 and all newer architectures have


@pytest.mark.needs("gcc")
def test_every_system_call_is_one_of_newer_architectures_too():
    text = HEADER.read_text()
    table = text[text.index("#define SYSTEM_CALLS(X)") : text.index("#define CONSTANTS(X)")]
    names = set(re.findall(r"X\((\w+)\)", table)) - {"X"}
    ours = set(re.findall(r"#define SYS_(\w+) \d+", text))  # later than the headers of the machine, the same everywhere
    theirs = set(re.findall(r"#define __NR(?:3264)?_(\w+)", GENERIC.read_text()))
    assert len(names) > 50
    assert names - theirs - ours == set()
