"""Every verb loads, every page is in shape, and every flag of Docker's either works or is refused with a reason."""

from __future__ import annotations

import re

import pytest

from inception.cli import pages
from inception.cli.commands import ABSENT, ALIASES, COMMANDS, GROUPS, SHORTCUTS, names_of, resolve
from inception.cli.flags import Flags
from inception.cli.main import load

# The flags of Docker's reference pages, by verb; a dash and a letter for shorthands.
DOCKER = {
    "checkpoint create": "checkpoint-dir leave-running",
    "checkpoint ls": "checkpoint-dir",
    "checkpoint rm": "checkpoint-dir",
    "container attach": "detach-keys no-stdin sig-proxy",
    "container commit": "a/author c/change m/message no-pause",
    "container cp": "a/archive L/follow-link q/quiet",
    "container create": (
        "add-host annotation a/attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns "
        "cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime c/cpu-shares cpus "
        "cpuset-cpus cpuset-mems device device-cgroup-rule device-read-bps device-read-iops device-write-bps "
        "device-write-iops dns dns-option dns-search domainname entrypoint e/env env-file expose gpus group-add "
        "health-cmd health-interval health-retries health-start-interval health-start-period health-timeout help "
        "h/hostname init i/interactive io-maxbandwidth io-maxiops ip ip6 ipc isolation l/label label-file link "
        "link-local-ip log-driver log-opt mac-address m/memory memory-reservation memory-swap memory-swappiness mount "
        "name network network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit platform privileged "
        "p/publish P/publish-all pull q/quiet read-only restart rm runtime security-opt shm-size stop-signal "
        "stop-timeout storage-opt sysctl tmpfs t/tty ulimit use-api-socket u/user userns uts v/volume volume-driver "
        "volumes-from w/workdir"
    ),
    "container diff": "",
    "container exec": "d/detach detach-keys e/env env-file i/interactive privileged t/tty u/user w/workdir",
    "container export": "o/output",
    "container inspect": "f/format s/size",
    "container kill": "s/signal",
    "container logs": "details f/follow since n/tail t/timestamps until",
    "container ls": "a/all f/filter format n/last l/latest no-trunc q/quiet s/size",
    "container pause": "",
    "container port": "",
    "container prune": "filter f/force",
    "container rename": "",
    "container restart": "s/signal t/timeout",
    "container rm": "f/force link v/volumes",
    "container start": "a/attach checkpoint checkpoint-dir detach-keys i/interactive",
    "container stats": "a/all format no-stream no-trunc",
    "container stop": "s/signal t/timeout",
    "container top": "",
    "container unpause": "",
    "container update": (
        "blkio-weight cpu-period cpu-quota cpu-rt-period cpu-rt-runtime c/cpu-shares cpus cpuset-cpus cpuset-mems "
        "m/memory memory-reservation memory-swap pids-limit restart"
    ),
    "container wait": "",
    "builder prune": "a/all filter f/force keep-storage",
    "image history": "format H/human no-trunc platform q/quiet",
    "image import": "c/change m/message platform",
    "image inspect": "f/format platform",
    "image load": "i/input platform q/quiet",
    "image ls": "a/all digests f/filter format no-trunc q/quiet tree",
    "image prune": "a/all filter f/force",
    "image pull": "all-tags platform q/quiet",
    "image push": "all-tags platform q/quiet",
    "image rm": "f/force no-prune platform",
    "image save": "o/output platform",
    "image tag": "",
    "inspect": "f/format s/size type",
    "network connect": "alias driver-opt gw-priority ip ip6 link link-local-ip",
    "network create": (
        "attachable aux-address config-from config-only d/driver gateway ingress internal ip-range ipam-driver "
        "ipam-opt ipv4 ipv6 label o/opt scope subnet"
    ),
    "network disconnect": "f/force",
    "network inspect": "f/format verbose",
    "network ls": "f/filter format no-trunc q/quiet",
    "network prune": "filter f/force",
    "network rm": "f/force",
    "system df": "format v/verbose",
    "system events": "f/filter format since until",
    "system info": "f/format",
    "system prune": "a/all filter f/force volumes",
    "version": "f/format",
    "volume create": (
        "availability d/driver group label limit-bytes o/opt required-bytes scope secret sharing topology-preferred "
        "topology-required type"
    ),
    "volume inspect": "f/format",
    "volume ls": "cluster f/filter format q/quiet",
    "volume prune": "a/all filter f/force",
    "volume rm": "f/force",
}
DOCKER["container run"] = DOCKER["container create"] + " d/detach detach-keys sig-proxy"
LOADED = sorted(COMMANDS)
# `  -m, --memory bytes   `, up to where the description starts.
_ENTRY = re.compile(r"  (?:-\w, |    )--[a-z0-9-]+(?:\[=[a-z]+\])?(?: [a-z]+)? {2,}(?=\S)")


@pytest.mark.parametrize("name", LOADED)
def test_every_verb_loads_and_its_summary_is_the_tables(name):
    command = load(name)
    assert command.summary == COMMANDS[name][1]
    assert pages.command(command, f"inception {name}", name).startswith(f"Usage:  inception {name}")


@pytest.mark.parametrize("name", LOADED)
def test_every_options_page_is_aligned_and_fits(name):
    columns = set()
    for line in load(name).options.splitlines():
        assert len(line) <= 128, line
        entry = _ENTRY.match(line)
        columns.add(entry.end() if entry else len(line) - len(line.lstrip()))
    assert len(columns) <= 1


@pytest.mark.parametrize("name", sorted(DOCKER))
def test_every_flag_of_dockers_works_or_is_refused_with_a_reason(name):
    command = load(name)
    table = command.table()
    for entry in DOCKER[name].split():
        short, _, long = entry.rpartition("/")
        assert long in table or command.refused.get(long), f"{name} --{long}"
        if long in table and short:
            assert table[long].short == short, f"{name} -{short}"


@pytest.mark.parametrize("name", LOADED)
def test_every_default_on_a_page_can_be_read(name):
    table = load(name).table()
    for flag in table.values():
        Flags(table).default(flag)


def test_a_flag_is_not_both_there_and_refused():
    for name in LOADED:
        command = load(name)
        assert not set(command.table()) & set(command.refused), name
        assert set(command.renamed.values()) <= set(command.table()), name


@pytest.mark.parametrize(
    ("words", "name", "count"),
    [
        (["run", "x"], "container run", 1),
        (["container", "run", "x"], "container run", 2),
        (["container", "ps"], "container ls", 2),
        (["ps", "-a"], "container ls", 1),
        (["images"], "image ls", 1),
        (["rmi", "x"], "image rm", 1),
        (["image", "remove"], "image rm", 2),
        (["compose", "up"], "compose", 1),
        (["container"], "", 0),
        (["nope"], "", 0),
    ],
)
def test_names_resolve_as_dockers_do(words, name, count):
    assert resolve(words) == (name, count)


def test_aliases_on_a_page_are_dockers():
    assert names_of("container ls") == ["container ls", "container list", "container ps", "ps"]
    assert names_of("image rm") == ["image rm", "image remove", "rmi"]


def test_no_name_is_in_two_tables():
    single = {name for name in COMMANDS if " " not in name}
    assert not single & set(SHORTCUTS) and not single & set(GROUPS) and not set(ABSENT) & (single | set(SHORTCUTS))
    assert set(ALIASES.values()) | set(SHORTCUTS.values()) <= set(COMMANDS)
