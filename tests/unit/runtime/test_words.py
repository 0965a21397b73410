"""Failures in words: where typos live longest."""

from __future__ import annotations

import errno

import pytest

from inception.oci.runtime import Linux, Mount, Namespace, Process, Spec
from inception.runtime import plan_container
from inception.runtime.words import explain_failure


def plan(command: str):
    value = Spec(
        process=Process(cwd="/", args=[command], env=["PATH=/bin:/usr/bin"]), linux=Linux(namespaces=[Namespace(type="mount")])
    )
    return plan_container(value, rootfs=Mount(destination="/", type="overlay", options=["lowerdir=/a"]))


@pytest.mark.parametrize(
    ("command", "number", "head", "code", "message", "hint"),
    [
        ("nope", errno.ENOENT, b"", 127, 'exec: "nope": executable file not found in $PATH', ""),
        ("/nope", errno.ENOENT, b"", 127, 'exec: "/nope": stat /nope: no such file or directory', ""),
        ("/etc", errno.EACCES, b"", 126, 'exec: "/etc": permission denied', ""),
        ("/x", errno.EACCES, b"#!/bin/sh\n", 126, 'exec: "/x": permission denied', "chmod +x"),
        ("/x", errno.ENOENT, b"#!/bin/bash\n", 127, "exec /x: no such file or directory", "'/bin/bash' is missing"),
        ("/x", errno.ENOENT, b"#!/bin/sh\r\n", 127, "exec /x: no such file or directory", "carriage return"),
        ("/x", errno.ENOENT, b"\x7fELF", 127, "exec /x: no such file or directory", "ELF interpreter"),
        ("/x", errno.ENOEXEC, b"hello", 126, "exec /x: exec format error", "#! line"),
        ("/x", errno.ENOEXEC, b"\x7fELF", 126, "exec /x: exec format error", "another architecture"),
    ],
)
def test_a_program_that_does_not_start_is_explained_as_docker_does(command, number, head, code, message, hint):
    value = plan(command)
    error = explain_failure(value, len(value.steps) - 1, number, 0, head)
    assert (str(error), error.exit_code) == (message, code)
    assert hint in error.hint and bool(hint) == bool(error.hint)


def test_a_failing_step_shows_the_call_its_place_and_its_source():
    value = plan("true")
    step = next(i for i, step in enumerate(value.steps) if step.name == "fsconfig" and "CREATE" in str(step))
    error = explain_failure(value, step, errno.EPERM)
    assert str(error) == (
        "fsconfig(<fs>, FSCONFIG_CMD_CREATE, NULL, NULL, 0): Operation not permitted "
        f"(step {step + 1} of {len(value.steps)}, from root)"
    )
    assert error.hint == "overlayfs in a user namespace needs Linux 5.11"


def test_a_clone_that_fails_names_its_namespaces():
    error = explain_failure(plan("true"), -1, errno.ENOSPC)
    assert str(error) == "clone3(NEWNS): No space left on device" and "max_" in error.hint
