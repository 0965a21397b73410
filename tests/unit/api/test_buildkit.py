"""BuildKit's protocol without a client: messages, files from a stranger, what is asked of the frontend."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inception.api.archive import go_mode
from inception.api.buildkit.options import parse_annotations, parse_caches, parse_exporters, parse_request
from inception.api.buildkit.status import Log, Vertexes
from inception.api.errors import NotSupported
from inception.build.progress import Event
from inception.build.tree import Tree
from inception.buildkit import filesync, messages
from inception.buildkit.filesync import DATA, ERR, FIN, REQ, STAT, Receiver
from inception.buildkit.grpc import NOT_FOUND, Channel, GrpcError, Method, Service
from inception.buildkit.http2 import Connection
from inception.buildkit.protobuf import Message, Value
from inception.errors import InceptionError, InvalidArgument

# --- messages ---

SAMPLE = Message(
    "Sample",
    """
    1 string text
    2 int number
    3 bool flag
    4 bytes data
    5 repeated string words
    6 map string attrs
    7 Sample inner
    8 repeated int numbers
    """,
)


def test_a_message_comes_back_as_it_was():
    value = {
        "text": "ä",
        "number": -1,
        "flag": True,
        "data": b"\0\xff",
        "words": ["a", ""],
        "attrs": {"k": "v", "empty": ""},
        "inner": {**SAMPLE.decode(b""), "number": 1 << 40},
        "numbers": [0, 300],
    }
    assert SAMPLE.decode(SAMPLE.encode(value)) == value


def test_a_message_is_written_as_others_do():
    # protobuf.dev, "Encoding": field 1 "testing" and field 2 150, with other field numbers there.
    assert SAMPLE.encode({"text": "testing", "number": 150}).hex() == "0a0774657374696e67109601"
    assert SAMPLE.decode(bytes.fromhex("4206038e029ea705"))["numbers"] == [3, 270, 86942], "packed numbers"
    assert SAMPLE.encode({"number": -2}).hex() == "10feffffffffffffffff01"


def test_unknown_fields_are_skipped_and_absent_ones_have_their_defaults():
    data = bytes.fromhex("f801017a0161") + bytes.fromhex("c90101020304050607 08".replace(" ", "")) + b"\x0a\x01x"
    assert SAMPLE.decode(data) == {**SAMPLE.decode(b""), "text": "x"}
    assert SAMPLE.decode(b"")["inner"] is None


@pytest.mark.parametrize("data", ["0a", "0a05616263", "08", "80808080808080808080808001", "0b", "1205", "0d00"])
def test_what_is_no_message_is_an_error(data: str):
    with pytest.raises(InvalidArgument, match="invalid message"):
        SAMPLE.decode(bytes.fromhex(data))


# --- calls over a connection ---


class Pipe:
    """One end of a connection in memory."""

    def __init__(self, incoming: asyncio.Queue[bytes], outgoing: asyncio.Queue[bytes]) -> None:
        self._incoming, self._outgoing = incoming, outgoing

    async def receive(self) -> bytes:
        return await self._incoming.get()

    async def send(self, data: bytes) -> None:
        self._outgoing.put_nowait(data)


async def _talk(methods: dict[str, Method], talk: Any) -> Any:
    there: asyncio.Queue[bytes] = asyncio.Queue()
    back: asyncio.Queue[bytes] = asyncio.Queue()
    server = Connection(Pipe(there, back), Service(methods, lambda error: GrpcError(NOT_FOUND, f"explained: {error}")))
    client = Connection(Pipe(back, there))
    tasks = [asyncio.create_task(server.run()), asyncio.create_task(client.run())]
    await asyncio.sleep(0)
    try:
        return await asyncio.wait_for(talk(Channel(client), lambda: (there.put_nowait(b""), back.put_nowait(b""))), 20)
    finally:
        there.put_nowait(b"")
        back.put_nowait(b"")
        await asyncio.gather(*tasks)


def test_a_call_has_an_answer_or_an_error_with_its_words():
    async def double(call: Any) -> Value:
        return {"data": call.request["data"] * 2}

    async def fail(call: Any) -> Value:
        raise InceptionError("no ümlaut: 100%")

    async def talk(channel: Channel, _cut: Any) -> None:
        found = await channel.call("/x/Double", messages.BYTES, messages.BYTES, {"data": b"ab"})
        assert found == {"data": b"abab"}
        for path, words in (("/x/Fail", "explained: no ümlaut: 100%"), ("/x/Nope", "unknown method Nope for service x")):
            with pytest.raises(GrpcError, match=words):
                await channel.call(path, messages.BYTES, messages.BYTES, {})

    methods = {
        "/x/Double": Method(messages.BYTES, messages.BYTES, double),
        "/x/Fail": Method(messages.BYTES, messages.BYTES, fail),
    }
    asyncio.run(_talk(methods, talk))


def test_much_data_goes_through_windows_both_ways():
    size = 20 << 20

    async def echo(call: Any) -> None:
        total = len(call.request["data"])
        while (found := await call.messages.next()) is not None:
            total += len(found["data"])
        for _ in range(total >> 20):
            await call.send({"data": b"x" * (1 << 20)})

    async def talk(channel: Channel, _cut: Any) -> int:
        exchange = await channel.open("/x/Echo", messages.BYTES, messages.BYTES)
        for _ in range(size >> 20):
            await exchange.send({"data": b"y" * (1 << 20)})
        await exchange.end()
        total = 0
        while found := await exchange.some():
            total += sum(len(each["data"]) for each in found)
        return total

    assert asyncio.run(_talk({"/x/Echo": Method(messages.BYTES, messages.BYTES, echo)}, talk)) == size


def test_when_the_peer_goes_away_both_sides_hear_of_it():
    ended: list[str] = []

    async def wait(call: Any) -> None:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ended.append("server")
            raise

    async def talk(channel: Channel, cut: Any) -> None:
        exchange = await channel.open("/x/Wait", messages.BYTES, messages.BYTES)
        await exchange.send({"data": b"1"})
        await asyncio.sleep(0.05)
        cut()
        with pytest.raises(GrpcError, match="the client has gone"):
            await exchange.some()

    asyncio.run(_talk({"/x/Wait": Method(messages.BYTES, messages.BYTES, wait)}, talk))
    assert ended == ["server"]


# --- progress ---


def test_a_log_waits_for_its_readers_and_forgets_when_there_are_none():
    piece = {"logs": [{"vertex": "v", "msg": b"x" * (1 << 20)}]}

    async def run() -> list[int]:
        log = Log()
        for _ in range(9):
            await log.add(piece)  # nobody reads: the oldest go
        reader = log.read()
        seen = [len(await anext(reader))]
        for _ in range(3):
            adding = asyncio.create_task(log.add(piece))
            await asyncio.sleep(0.01)
            assert not adding.done(), "a reader that is behind is not waited for"
            while not adding.done():
                seen.append(len(await anext(reader)))
                await asyncio.sleep(0)
        await log.end()
        seen += [len(data) async for data in reader]
        return seen

    seen = asyncio.run(asyncio.wait_for(run(), 20))
    assert 3 + 3 <= len(seen) <= 4 + 3 and set(seen) == {len(messages.STATUS_RESPONSE.encode(piece))}


def test_events_become_vertexes_logs_and_statuses():
    vertexes = Vertexes("ref")

    def tell(kind: str, step: int, name: str, data: bytes = b"") -> Any:
        return vertexes.response(Event(kind=kind, step=step, name=name, data=data))

    (mine,) = tell("start", 1, "[1/2] RUN x")["vertexes"]
    (own,) = tell("start", 2, "[internal] load build context")["vertexes"]
    assert mine["digest"] != own["digest"] and "completed" not in mine
    assert tell("output", 1, "", b"hello")["logs"][0]["msg"] == b"hello"
    assert tell("output", 2, "", b"transferring context: 2B\n")["statuses"][0]["id"] == "transferring context: 2B"
    assert tell("cached", 2, "")["vertexes"][0]["cached"]
    assert tell("failed", 1, "", b"why") is None, "in which words is known later"
    assert vertexes.failures("[1/2] RUN x", "in BuildKit's words")[0]["vertexes"][0]["error"] == "in BuildKit's words"
    assert vertexes.failures()[0]["vertexes"][0]["error"] == "why"


# --- files from a stranger ---


def entry(path: bytes, mode: int = 0o100644, size: int = 0, mtime_ns: int = 5, link: bytes = b"") -> Value:
    kind = {"path": path, "mode": go_mode(mode), "size": size, "mtime_ns": mtime_ns, "linkname": link}
    return {"type": STAT, "stat": {**messages.STAT.decode(b""), **kind}, "id": 0, "data": b""}


def folder(path: bytes) -> Value:
    return entry(path, 0o40755)


class Sender:
    """Says what the test says, answers requests with *files*, and notes what it was asked."""

    def __init__(self, entries: list[Value], files: dict[bytes, bytes] | None = None, extra: list[Value] | None = None) -> None:
        self.queue: list[list[Value]] = [
            [*entries, {"type": STAT, "stat": None, "id": 0, "data": b""}],
            *([extra] if extra else []),
        ]
        self.paths = [each["stat"]["path"] for each in entries]
        self.files = files or {}
        self.asked: list[bytes] = []

    def some(self) -> list[Value]:
        return self.queue.pop(0) if self.queue else []

    def send_all(self, packets: list[Value]) -> None:
        for packet in packets:
            if packet["type"] == REQ:
                path = self.paths[packet["id"]]
                self.asked.append(path)
                data = self.files.get(path, b"")
                answer = [{"type": DATA, "stat": None, "id": packet["id"], "data": data}] if data else []
                self.queue.append([*answer, {"type": DATA, "stat": None, "id": packet["id"], "data": b""}])
            elif packet["type"] == FIN:
                self.queue.append([{"type": FIN, "stat": None, "id": 0, "data": b""}])

    def end(self) -> None:
        pass


@pytest.fixture
def top(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    path = tmp_path / "outer/top"
    path.mkdir(parents=True)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd, path
    os.close(fd)


def receive(top: tuple[int, Path], sender: Sender) -> Receiver:
    receiver = Receiver(top[0], sender)
    receiver.run()
    return receiver


def test_a_folder_becomes_what_the_sender_has(top: tuple[int, Path]):
    entries = [folder(b"d"), entry(b"d/f", 0o104711, 5), entry(b"l", 0o120777, link=b"/etc/passwd"), entry(b"p", 0o10600)]
    sender = Sender(entries, {b"d/f": b"hello"})
    receive(top, sender)
    assert (top[1] / "d/f").read_bytes() == b"hello" and stat.S_IMODE((top[1] / "d/f").stat().st_mode) == 0o4711
    assert (top[1] / "d/f").stat().st_mtime_ns == (top[1] / "d").stat().st_mtime_ns == 5
    assert os.readlink(top[1] / "l") == "/etc/passwd" and stat.S_ISFIFO((top[1] / "p").stat().st_mode)
    assert sender.asked == [b"d/f"]


def test_only_what_differs_is_asked_for_and_the_rest_goes(top: tuple[int, Path]):
    receive(top, Sender([folder(b"d"), entry(b"d/f", size=1), entry(b"d/g", size=1)], {b"d/f": b"1", b"d/g": b"2"}))
    (top[1] / "stale").mkdir()
    (top[1] / "stale/x").write_text("x")
    sender = Sender([folder(b"d"), entry(b"d/f", size=1), entry(b"d/g", size=1, mtime_ns=6)], {b"d/g": b"3"})
    receiver = receive(top, sender)
    assert sender.asked == [b"d/g"] and (top[1] / "d/g").read_text() == "3" and not (top[1] / "stale").exists()
    assert (receiver.size_bytes, receiver.sent_bytes) == (2, 1)
    # A folder in a file's place, a file in a folder's, a link in a file's.
    entries = [entry(b"d", size=1), folder(b"e"), entry(b"e/f", 0o120777, link=b"x")]
    receive(top, Sender(entries, {b"d": b"4"}))
    assert (top[1] / "d").read_text() == "4" and os.readlink(top[1] / "e/f") == "x"


def test_hard_links_stay_links(top: tuple[int, Path]):
    for _ in range(2):
        receive(top, Sender([entry(b"a", size=1), entry(b"b", link=b"a")], {b"a": b"1"}))
        assert (top[1] / "a").stat().st_ino == (top[1] / "b").stat().st_ino


@pytest.mark.parametrize(
    "path",
    [
        b"",
        b".",
        b"..",
        b"/x",
        b"../x",
        b"d/../x",
        b"d/../../x",
        b"d/",
        b"d//x",
        b"./x",
        b"x\0y",
        b"nowhere/x",
        b"l/x",
        b"f/x",
        b"d",
    ],
)
def test_ghsa_g2h8_names_that_leave_the_folder_are_refused(top: tuple[int, Path], path: bytes):
    """GHSA-g2h8-2v44-5v6c, CVE-2026-33747."""
    entries = [folder(b"d"), entry(b"f", size=1), entry(b"l", 0o120777, link=b".."), entry(path, size=1)]
    with pytest.raises(InvalidArgument, match="the client sent a path"):
        receive(top, Sender(entries, {b"f": b"1", path: b"2"}))
    assert sorted(each.name for each in top[1].parent.iterdir()) == ["top"]


def test_cve_2026_33747_links_that_lie_in_the_folder_are_never_followed(top: tuple[int, Path], tmp_path: Path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "x").write_text("kept")
    (top[1] / "d").symlink_to(outside)
    (top[1] / "f").symlink_to(outside / "x")
    receive(top, Sender([folder(b"d"), entry(b"d/x", size=1), entry(b"f", size=1)], {b"d/x": b"1", b"f": b"2"}))
    assert (outside / "x").read_text() == "kept" and (top[1] / "d/x").read_text() == "1" and not (top[1] / "f").is_symlink()


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../x", b"l", b"d", b"later"])
def test_hard_links_lead_to_files_that_were_sent(top: tuple[int, Path], target: bytes):
    entries = [folder(b"d"), entry(b"l", 0o120777, link=b"/etc/passwd"), entry(b"z", link=target)]
    with pytest.raises(InvalidArgument, match="hard link"):
        receive(top, Sender(entries))


def test_a_sender_that_breaks_the_rules_is_an_error(top: tuple[int, Path]):
    cases = [
        ([{"type": DATA, "stat": None, "id": 7, "data": b"x"}], "nobody asked for"),
        ([{"type": ERR, "stat": None, "id": 0, "data": b"disk on fire"}], "disk on fire"),
    ]
    for extra, words in cases:
        with pytest.raises(InvalidArgument, match=words):
            receive(top, Sender([], extra=extra))
    sender = Sender([entry(b"x", 0o100644 | 1)])
    sender.queue[0][0]["stat"]["mode"] = 1 << 19
    with pytest.raises(InvalidArgument, match="unknown kind"):
        receive(top, sender)
    sender = Sender([entry(b"x", size=1)])
    sender.send_all = lambda packets: None  # type: ignore[method-assign]
    with pytest.raises(InvalidArgument, match="before their end"):
        receive(top, sender)


def test_a_tree_is_sent_as_it_is(tmp_path: Path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/f").write_bytes(b"x" * 70_000)
    (tmp_path / "l").symlink_to("d/f")

    class Taker:
        def __init__(self) -> None:
            self.sent: list[Value] = []
            self.answers: list[list[Value]] = [[{"type": REQ, "id": 1}], [{"type": FIN}]]

        def some(self) -> list[Value]:
            return self.answers.pop(0)

        def send_all(self, packets: list[Value]) -> None:
            self.sent += packets

        def end(self) -> None:
            pass

    taker = Taker()
    fd = os.open(tmp_path, os.O_RDONLY)
    filesync.send(Tree(fd), taker, 9)
    os.close(fd)
    stats = [each["stat"] for each in taker.sent if each["type"] == STAT and "stat" in each]
    assert (
        [each["path"] for each in stats] == [b"d", b"d/f", b"l"]
        and stats[2]["linkname"] == b"d/f"
        and stats[1]["mtime_ns"] == 9
    )
    assert b"".join(each.get("data", b"") for each in taker.sent if each["type"] == DATA) == b"x" * 70_000


# --- what is asked for ---


def ask(**attrs: str) -> Any:
    return parse_request("dockerfile.v0", {key.replace("__", ":").replace("_", "-"): value for key, value in attrs.items()}, {})


def test_attributes_of_the_frontend_become_a_configuration():
    found = ask(
        filename="Other",
        target="t",
        build_arg__A="1",
        label__b="2",
        no_cache="x,y",
        platform="linux/amd64",
        add_hosts="h=1.2.3.4,i=::1",
        force_network_mode="none",
        image_resolve_mode="pull",
        shm_size="1024",
        ulimit="nofile=1:2,core=3",
        context__named="local:folder",
        context__base="docker-image://debian",
        attest__provenance="mode=min,inline-only=true",
        vcs__source="x",
    )
    config = found.config
    assert (found.filename, found.context, found.dockerfile_from, found.locals) == (
        "Other",
        "context",
        "dockerfile",
        {"named": "folder"},
    )
    assert (config.target, config.build_args, config.labels, config.no_cache_stages) == (
        "t",
        {"A": "1"},
        {"b": "2"},
        ["x", "y"],
    )
    assert (config.network, config.pull, config.extra_hosts) == ("none", True, ["h:1.2.3.4", "i:::1"])
    assert config.resources.shm_size_bytes == 1024
    assert [(each.name, each.soft, each.hard) for each in config.resources.ulimits] == [("nofile", 1, 2), ("core", 3, 3)]
    assert config.contexts == {"named": "local:folder", "base": "docker-image://debian"}
    assert ask(no_cache="").config.no_cache


def test_a_context_elsewhere_has_its_dockerfile_inside_unless_the_client_has_it():
    found = ask(context="https://host/x.git")
    assert (found.context, found.dockerfile_from) == ("https://host/x.git", "")
    assert ask(context="https://host/x.git", dockerfilekey="dockerfile").dockerfile_from == "dockerfile"


@pytest.mark.parametrize(
    ("frontend", "attrs", "words"),
    [
        ("gateway.v0", {"source": "someone/frontend"}, "frontend gateway.v0 someone/frontend is not supported"),
        ("dockerfile.v0", {"cgroup-parent": "x"}, "cgroup-parent x"),
        ("dockerfile.v0", {"platform": "linux/amd64,linux/arm64"}, "one platform"),
        ("dockerfile.v0", {"attest:sbom": "generator=x"}, "attestation sbom"),
        ("dockerfile.v0", {"context:x": "oci-layout://y"}, "build context x=oci-layout://y"),
        ("dockerfile.v0", {"context:x": "input:y"}, "LLB"),
        ("dockerfile.v0", {"odd": "1"}, "frontend option odd=1"),
        ("dockerfile.v0", {"hostname": "x"}, "hostname x"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(frontend: str, attrs: dict[str, str], words: str):
    with pytest.raises(NotSupported, match=words):
        parse_request(frontend, attrs, {})


def test_exporters_and_caches_are_understood_or_refused():
    solve = {"exporters": [{"type": "moby", "attrs": {"name": "a,b:c"}}, {"type": "local", "attrs": {}}], "exporter": ""}
    stored, local = parse_exporters(solve)
    assert (stored.type, stored.names, stored.to_caller) == (
        "image",
        ["docker.io/library/a:latest", "docker.io/library/b:c"],
        False,
    )
    assert (local.type, local.to_caller) == ("local", True)
    for exporter in ({"type": "earthly", "attrs": {}}, {"type": "moby", "attrs": {"odd": "y"}}):
        with pytest.raises(NotSupported):
            parse_exporters({"exporters": [exporter], "exporter": ""})
    noted = {"annotation.a": "1", "annotation-manifest[linux/amd64].b": "2"}
    notes = parse_annotations({"exporters": [{"type": "image", "attrs": noted}], "exporter": ""})
    assert [(note.level, note.platform, note.key, note.value) for note in notes] == [
        ("manifest", "", "a", "1"),
        ("manifest", "linux/amd64", "b", "2"),
    ]
    imports = '[{"Type":"registry","Attrs":{"ref":"host:5000/a"}}]'
    (place,) = parse_caches([{"type": "registry", "attrs": {"ref": "host:5000/a"}}], {"cache-imports": imports})
    assert place.place == "host:5000/a:latest"
    with pytest.raises(NotSupported, match="type local"):
        parse_caches([{"type": "local", "attrs": {"src": "x"}}], {})
