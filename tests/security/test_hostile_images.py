"""Images that mean harm: what the engine reads, makes and mounts in their files stays inside, and never waits for them."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from inception import Engine, MountConfig
from inception.errors import InceptionError

from .conftest import Entry, entry, make, output, symlink

pytestmark = pytest.mark.needs("root", "busybox")

_FIFO = tarfile.FIFOTYPE


@pytest.mark.parametrize("user", ["1000:abc", "0x0", "-1", "2147483648", "4294967296", " 0", "+0", "1e3", "0:0:0", "\u0660"])
def test_a_user_that_is_no_number_in_range_is_an_error_and_never_root(engine: Engine, image: Callable[..., str], user: str):
    with pytest.raises(InceptionError):
        make(engine, image(), "id", user=user).start()
    container = make(engine, image(), "sleep", "60")
    container.start()
    with pytest.raises(InceptionError):
        container.exec(["id"], user=user)


def test_a_number_is_that_number_whatever_names_passwd_has(engine: Engine, image: Callable[..., str]):
    passwd = entry("etc/passwd", data=b"root:x:0:0::/:/bin/sh\n1000:x:7:8::/:/bin/sh\n0:x:9:9::/:/bin/sh\n", mode=0o644)
    assert output(make(engine, image(passwd), "id", "-u", user="1000"))[1] == "1000\n"


def test_groups_are_those_of_the_images_files(engine: Engine, image: Callable[..., str]):
    passwd = entry("etc/passwd", data=b"joe:x:1000:1000::/:/bin/sh\n", mode=0o644)
    group = entry("etc/group", data=b"joe:x:1000:\nin:x:44:joe\nout:x:45:jane\n", mode=0o644)
    assert output(make(engine, image(passwd, group), "id", "-G", user="joe"))[1].split() == ["1000", "44"]
    assert "45" not in output(make(engine, image(passwd, group), "id", "-G", user="1000"))[1]


def test_cve_2022_36109_a_file_that_denies_by_a_group_denies(engine: Engine, image: Callable[..., str]):
    """`others` may read it, the group may not: who loses a group on the way would gain."""
    passwd = entry("etc/passwd", data=b"joe:x:1000:1000::/:/bin/sh\njane:x:1001:1001::/:/bin/sh\n", mode=0o644)
    group = entry("etc/group", data=b"banned:x:44:joe\nown:x:1000:\n", mode=0o644)
    secret, data = entry("secret", data=b"read", mode=0o604)  # type: ignore[misc]
    secret.gid = 44
    made = image(passwd, group, (secret, data))
    for user, groups, read in (("joe", [], False), ("jane", [], True), ("jane", ["banned"], False)):
        code, said = output(make(engine, made, "cat", "/secret", user=user, group_add=groups))
        assert (code == 0 and said == "read") == read, (user, groups, said)
    container = make(engine, made, "sleep", "60", user="jane")
    container.start()
    assert container.exec(["cat", "/secret"], user="joe").exit_code != 0
    assert container.exec(["cat", "/secret"]).exit_code == 0


@pytest.mark.parametrize(
    "passwd",
    [
        entry("etc/passwd", _FIFO),
        symlink("etc/passwd", "/dev/zero"),
        symlink("etc/passwd", "/proc/self/fd/0"),
        symlink("etc/passwd", "/proc/kmsg"),
        entry("etc/passwd", tarfile.DIRTYPE),
        entry("etc/passwd", data=b"a" * (64 << 20)),
        entry("etc/passwd", data=b"x:y:z\n" * 100_000),
    ],
    ids=["fifo", "dev-zero", "magic-link", "proc", "folder", "one-line-of-64-MiB", "nonsense"],
)
def test_cve_2024_9676_a_passwd_that_is_a_trap_is_an_error(engine: Engine, image: Callable[..., str], passwd: Entry):
    with pytest.raises(InceptionError):
        make(engine, image(passwd), "id", user="joe").start()


def test_a_passwd_that_leads_out_is_the_images_own(engine: Engine, image: Callable[..., str], host: Path):
    (host / "passwd").write_text("joe:x:0:0::/:/bin/sh\n")
    try:
        for target in (str(host / "passwd"), "../../../../../../../../.." + str(host / "passwd")):
            with pytest.raises(InceptionError):
                make(engine, image(symlink("etc/passwd", target)), "id", user="joe").start()
    finally:
        (host / "passwd").unlink()


@pytest.mark.parametrize("name", ["etc/hosts", "etc/hostname", "etc/resolv.conf"])
@pytest.mark.parametrize("kind", ["link-out", "link-up", "fifo", "folder", "magic-link", "etc-is-a-link"])
def test_cve_2025_24965_the_files_that_we_bring_are_planted(
    engine: Engine, image: Callable[..., str], host: Path, name: str, kind: str
):
    planted = {
        "link-out": [symlink(name, str(host / "file"))],
        "link-up": [symlink(name, "../../../../../../../../.." + str(host / "file"))],
        "fifo": [entry(name, _FIFO)],
        "folder": [entry(name, tarfile.DIRTYPE)],
        "magic-link": [symlink(name, "/proc/1/root/etc/hostname")],
        "etc-is-a-link": [symlink("etc", str(host))],
    }[kind]
    try:
        code, _ = output(make(engine, image(*planted), "true", network_mode="bridge"))
        assert code == 0
    except InceptionError:
        pass  # refused is as good; `host` says whether something outside was touched


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("up", [False, True])
def test_cve_2019_19921_cve_2026_41579_the_kernels_folders_are_links(
    engine: Engine, image: Callable[..., str], host: Path, name: str, up: bool
):
    target = ("../../../../../../../../.." if up else "") + str(host)
    try:
        output(make(engine, image(symlink(name, target)), "true"))
    except InceptionError:
        pass


@pytest.mark.parametrize("path", ["/proc", "/proc/sys", "/sys/fs", "/dev/pts"])
def test_cve_2023_28642_a_volume_of_the_image_over_the_kernels_folders(engine: Engine, image: Callable[..., str], path: str):
    found = image(changes=[f"VOLUME {path}"])
    try:
        code, text = output(make(engine, found, "sh", "-c", "cat /proc/self/status /proc/sys/kernel/ostype"))
    except InceptionError:
        return
    # What was not refused has the real procfs, and its settings are read-only.
    assert code == 0 and "Linux" in text


def test_cve_2022_23648_a_volume_path_through_a_link_copies_nothing_of_the_host(
    engine: Engine, image: Callable[..., str], host: Path
):
    for target in (str(host), "../../../../../../../../.." + str(host), "/proc/1/root" + str(host)):
        found = image(symlink("data", target), changes=["VOLUME /data"])
        try:
            _, text = output(make(engine, found, "sh", "-c", "ls /data/ 2>/dev/null; cat /data/file 2>/dev/null"))
        except InceptionError:
            continue
        assert "untouched" not in text and "file" not in text


def test_copied_up_files_are_the_images_and_links_stay_links(engine: Engine, image: Callable[..., str], host: Path):
    found = image(entry("data", tarfile.DIRTYPE), symlink("data/out", str(host / "file")), entry("data/in", data=b"mine"))
    mounts = [MountConfig(type="volume", source="copied", target="/data")]
    code, text = output(make(engine, found, "sh", "-c", "cat /data/in; readlink /data/out; cat /data/out", mounts=mounts))
    assert text.startswith("mine" + str(host / "file")) and "untouched" not in text and code != 0


@pytest.mark.parametrize("field", ["ENTRYPOINT", "WORKDIR", "USER", "LABEL", "STOPSIGNAL"])
def test_odd_values_of_an_images_configuration_are_words_and_nothing_more(
    engine: Engine, image: Callable[..., str], host: Path, field: str
):
    odd = {
        "ENTRYPOINT": ['ENTRYPOINT ["/bin/sh", "-c", "true"]'],
        "WORKDIR": ["WORKDIR /../../../../../.." + str(host) + "/made"],
        "USER": ["USER ../../x"],
        "LABEL": [
            "LABEL io.containerd.log-uri=binary:///bin/touch?" + str(host) + "/made",
            "LABEL com.docker.compose.project=x",
        ],
        "STOPSIGNAL": ["STOPSIGNAL SIGTERM"],
    }[field]
    try:
        output(make(engine, image(changes=odd), "true"))
    except InceptionError:
        pass
