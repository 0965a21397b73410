"""The same session against dockerd and against us; what differs is listed in docs/clients/differences.md with its reason.

Lines of the CLI are compared as they print; documents of the API by their fields and the types of their values. Ids, times,
sizes and addresses are normalised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .support import Dockerd, Host

pytestmark = pytest.mark.needs("root", "nft", "docker", "dockerd")

# Beside dockerd's documents: our fields that it lacks here (this machine's dockerd is 20.10, we speak 1.51), and the other
# way round. Each line is explained in docs/clients/differences.md.
KNOWN = {
    line.partition("`")[2].partition("`")[0]
    for line in (Path(__file__).parents[2] / "docs/clients/differences.md").read_text().splitlines()
    if line.startswith("| `")
}


SESSION = """\
create --name one --hostname h --label a=b -e X=1 -p 127.0.0.1:18997:80 -v data:/d bb sleep 100
create --name one bb
start one
ps --format {{.Names}}|{{.Image}}|{{.Command}}|{{.State}}|{{.Ports}}|{{.Labels}}|{{.Mounts}}|{{.Networks}}
exec one sh -c 'echo $X; hostname; exit 3'
exec one nope
exec -w /nope one true
exec -u nobody-there one true
port one
inspect -f '{{.Path}} {{.Args}} {{.State.Status}} {{.Config.Hostname}} {{.Config.Env}} {{.HostConfig.NetworkMode}}' one
inspect -f '{{.Config.AttachStdin}} {{.Config.AttachStdout}} {{.Config.AttachStderr}} {{.Config.StdinOnce}}' one
inspect -f '{{range .Mounts}}{{.Type}} {{.Destination}} {{.Mode}}{{end}}' one
inspect nope
logs one
top one -o pid,comm
pause one
exec one true
pause one
unpause one
unpause one
rename one two
rename nope x
kill -s NOPE two
rm two
volume rm data
network rm bridge
network create --driver nope n
stop -t 0 two
stop two
start two
wait nope
restart -t 0 two
kill two
kill two
exec two true
rm two
volume inspect -f '{{.Name}} {{.Driver}} {{.Scope}}' data
volume rm data
volume rm data
volume create a
network create net1
network create net1
network connect net1 nope
network disconnect net1 nope
network disconnect -f net1 nope
run -d --name everywhere -p 18996:80 bb sleep 100
ps -f name=everywhere --format {{.Ports}}
port everywhere
inspect -f '{{.Config.AttachStdin}} {{.Config.AttachStdout}} {{.Config.AttachStderr}}' everywhere
rm -f everywhere
network inspect -f '{{.Name}} {{.Driver}} {{.Internal}} {{.Scope}}' net1
network rm net1
network rm net1
run --rm bb sh -c 'echo out; echo err >&2; exit 9'
run --rm bb nope
run --rm bb /etc/passwd
run --rm --user 12:34 bb id
run --rm -w /new/folder bb pwd
run --rm --read-only bb touch /x
run --rm --entrypoint echo bb entry
run --rm -e A=b --env C bb env
run --rm --network none bb ip -o link
run --rm --tmpfs /t bb grep ' /t ' /proc/mounts
run --rm --cap-drop ALL bb grep Cap /proc/self/status
run --rm --security-opt no-new-privileges bb grep NoNewPrivs /proc/self/status
run --rm --ulimit nofile=100:200 bb sh -c 'ulimit -n; ulimit -Hn'
run --rm -m 64m bb cat /sys/fs/cgroup/memory/memory.limit_in_bytes
run --rm --restart always bb true
run --rm -p 99999:1 bb true
run --rm -v /no:such:mode bb true
run --rm --mount type=bind,src=/nope/nope,dst=/x bb true
run --rm --network nope bb true
run --rm --name ! bb true
tag bb other:1
tag nope x
images --format {{.Repository}}:{{.Tag}} other
rmi other:1
rmi nope
history --format {{.CreatedBy}} nope
save nope
pull 127.0.0.1:1/x
cp nope:/x -
""".splitlines()


def test_the_same_lines_print_the_same(host: Host, dockerd: Dockerd) -> None:
    differing = {}
    for line in SESSION:
        ours, theirs = _outcome(host, line), _outcome(dockerd, line)
        if ours != theirs:
            differing[f"docker {line}"] = f"docker {line}\n  ours:   {ours}\n  theirs: {theirs}"
    unknown = [text for line, text in differing.items() if line not in KNOWN]
    assert not unknown, "\n".join(unknown)
    assert {line for line in KNOWN if line.startswith("docker ")} == set(differing), "on the page, but the same now"


def _outcome(host: Host, line: str) -> tuple[int, str, str]:
    import shlex

    done = host.run(*shlex.split(line))
    return done.returncode, _normalise(done.stdout), _normalise(done.stderr)


_NORMAL = [
    (r"\b[0-9a-f]{64}\b", "ID"),
    (r"\b[0-9a-f]{12}\b", "ID"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"(?m)^\s*\d+\s+(?=\S+$)", "PID "),
    (r"\b[a-z]+_[a-z]+\d?\b", "NAME"),
    (r"\s*\n\s*", "\n"),
    (r"Run 'docker.*", ""),
    (r"See 'docker.*", ""),
    (r"\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b", "MAC"),
]


def _normalise(text: str) -> str:
    for pattern, word in _NORMAL:
        text = re.sub(pattern, word, text)
    return text.strip()


def test_documents_have_the_same_fields(host: Host, dockerd: Dockerd) -> None:
    differing = set()
    ours, theirs = _documents(host), _documents(dockerd)
    for name in theirs:
        differing |= set(_compare(name, ours[name], theirs[name]))
    unknown = differing - KNOWN
    assert not unknown, "\n".join(sorted(unknown))
    assert {field for field in KNOWN if not field.startswith("docker ")} == differing, "on the page, but the same now"


def _documents(host: Host) -> dict[str, Any]:
    body = {
        "Image": "bb",
        "Cmd": ["sleep", "100"],
        "ExposedPorts": {"80/tcp": {}},
        "Labels": {"a": "b"},
        "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "0"}]}, "Binds": ["vol1:/v"], "Memory": 64 << 20},
    }
    made = host.json("POST", "/v1.41/containers/create?name=doc", body)
    host.json("POST", "/v1.41/containers/doc/start")
    network = host.json("POST", "/v1.41/networks/create", {"Name": "docnet"})
    run = host.json("POST", "/v1.41/containers/doc/exec", {"Cmd": ["true"], "AttachStdout": True})
    documents = {
        "create": made,
        "inspect": host.json("GET", "/v1.41/containers/doc/json?size=1"),
        "list": host.json("GET", "/v1.41/containers/json?size=1"),
        "top": host.json("GET", "/v1.41/containers/doc/top"),
        "stats": host.json("GET", "/v1.41/containers/doc/stats?stream=0"),
        "exec": host.json("GET", f"/v1.41/exec/{run['Id']}/json"),
        "image": host.json("GET", "/v1.41/images/bb/json"),
        "images": host.json("GET", "/v1.41/images/json"),
        "history": host.json("GET", "/v1.41/images/bb/history"),
        "network create": network,
        "network": host.json("GET", "/v1.41/networks/docnet"),
        "networks": host.json("GET", "/v1.41/networks"),
        "volume": host.json("GET", "/v1.41/volumes/vol1"),
        "volumes": host.json("GET", "/v1.41/volumes"),
        "version": host.json("GET", "/v1.41/version"),
        "info": host.json("GET", "/v1.41/info"),
        "df": host.json("GET", "/v1.41/system/df"),
    }
    host.docker("rm", "-f", "doc")
    host.docker("network", "rm", "docnet")
    host.docker("volume", "rm", "vol1")
    return documents


# Maps whose keys are names of things, not fields.
_MAPS = re.compile(r"(Labels|Ports|PortBindings|Networks|Containers|Data|Options|Config\.Volumes|ExposedPorts|stats|networks)$")


def _compare(where: str, ours: Any, theirs: Any) -> Iterator[str]:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        if _MAPS.search(where):
            return
        for key in sorted({*ours, *theirs}):
            place = f"{where}.{key}"
            if key not in ours:
                yield f"{place} (missing)"
            elif key not in theirs:
                yield f"{place} (ours alone)"
            else:
                yield from _compare(place, ours[key], theirs[key])
    elif isinstance(ours, list) and isinstance(theirs, list):
        if ours and theirs:
            yield from _compare(f"{where}[]", ours[0], theirs[0])
    elif _kind(ours) != _kind(theirs):
        yield f"{where} ({_kind(ours)}, theirs {_kind(theirs)})"


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    return "number" if type(value) in (int, float) else type(value).__name__
