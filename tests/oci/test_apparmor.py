"""AppArmor where the kernel has it: the profile holds, for exec too; one that isn't there is an error."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import Runtime

pytestmark = pytest.mark.needs("root", "busybox")
with_apparmor = pytest.mark.needs("apparmor", "apparmor_parser")
SCRIPT = "cat /proc/self/attr/current; cat /etc/secret; echo $?; touch /tmp/denied; echo $?; touch /tmp/allowed; echo $?"


@pytest.fixture
def rt(tmp_path: Path) -> Iterator[Runtime]:
    runtime = Runtime("inception-runc", tmp_path)
    (runtime.rootfs / "etc/secret").write_text("told\n")
    yield runtime
    runtime.close()


@pytest.fixture
def profile() -> Iterator[str]:
    path = str(Path(__file__).with_name("confined.profile"))
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache", path], check=True)
    yield "inception-test"
    subprocess.run(["apparmor_parser", "--remove", path], check=True)


@with_apparmor
def test_a_profile_holds(rt: Runtime, profile: str):
    found = rt.run(SCRIPT, process={"apparmorProfile": profile})
    assert found.out == f"{profile} (enforce)\n1\n1\n0\n", found
    assert rt.run(SCRIPT).out == "unconfined\ntold\n0\n0\n0\n"


@with_apparmor
def test_exec_takes_the_containers_profile_or_its_own(rt: Runtime, profile: str):
    assert rt.create("sleep 60", process={"apparmorProfile": profile}).code == 0 and rt.start().code == 0
    assert rt.command("exec", rt.id, "cat", "/proc/self/attr/current").out == f"{profile} (enforce)\n"
    assert rt.command("exec", "--apparmor", "unconfined", rt.id, "cat", "/proc/self/attr/current").out == "unconfined\n"


@with_apparmor
def test_a_profile_holds_with_no_new_privileges(rt: Runtime, profile: str):
    found = rt.run(SCRIPT, process={"apparmorProfile": profile, "noNewPrivileges": True})
    assert found.out.startswith(f"{profile} (enforce)\n1\n"), found


@with_apparmor
def test_a_profile_that_is_not_loaded_is_an_error(rt: Runtime):
    failed = rt.run("true", process={"apparmorProfile": "no-such-profile"})
    assert failed.code != 0 and "process.apparmorProfile" in failed.err and "Traceback" not in failed.err, failed
    assert "apparmor_parser" in failed.err, "the next step"


@with_apparmor
def test_the_engine_puts_containers_in_a_profile(tmp_path: Path, profile: str):
    from inception import ContainerConfig, Engine
    from inception.store.bootstrap import bootstrap

    with Engine(str(tmp_path / "root"), str(tmp_path / "run")) as engine:
        bootstrap(engine.store, "busybox:latest")
        config = ContainerConfig(
            image="busybox", command=["sleep", "60"], network_mode="none", security_opt=[f"apparmor={profile}"]
        )
        container = engine.containers.create(config)
        try:
            container.start()
            assert container.exec(["cat", "/proc/1/attr/current"]).output.decode() == f"{profile} (enforce)\n"
            assert container.exec(["cat", "/proc/self/attr/current"]).output.decode() == f"{profile} (enforce)\n"
        finally:
            container.remove(force=True)


@pytest.mark.needs("no-apparmor")
def test_a_profile_where_there_is_no_apparmor_is_an_error(rt: Runtime):
    failed = rt.run("true", process={"apparmorProfile": "any"})
    assert failed.code != 0 and "the kernel has no AppArmor" in failed.err, failed


@pytest.mark.needs("no-selinux")
def test_labels_where_there_is_no_selinux_are_errors(rt: Runtime):
    label = "system_u:system_r:container_t:s0"
    for changes in ({"process": {"selinuxLabel": label}}, {"linux": {"mountLabel": label}}):
        failed = rt.run("true", **changes)
        assert failed.code != 0 and "the kernel has no SELinux" in failed.err, failed
