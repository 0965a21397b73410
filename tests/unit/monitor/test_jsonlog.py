import errno
import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inception.monitor import jsonlog
from inception.monitor.jsonlog import PART_BYTES, JsonLog, encode_lines


def records(path):
    with open(path, "rb") as file:
        return [json.loads(line) for line in file]


def spoken(path):
    return "".join(record["log"] for record in records(path))


def test_lines_become_records_as_docker_writes_them(tmp_path):
    log = JsonLog(str(tmp_path / "log"))
    log.write("stdout", b'say "hi"\\\n\tb\n')
    log.write("stderr", "grüße\n".encode())
    log.close()
    first, second, third = records(log.path)
    assert first["log"] == 'say "hi"\\\n'
    assert second["log"] == "\tb\n"
    assert (third["log"], third["stream"]) == ("grüße\n", "stderr")
    assert len(first["time"]) == len("2026-11-23T18:08:55.123456789Z")
    assert list(first) == ["log", "stream", "time"]


def test_an_unfinished_line_waits_for_its_end_and_streams_do_not_mix(tmp_path):
    log = JsonLog(str(tmp_path / "log"))
    log.write("stdout", b"a")
    log.write("stderr", b"x\n")
    log.write("stdout", b"b\nc")
    assert [record["log"] for record in records(log.path)] == ["x\n", "ab\n"]
    log.close()
    assert [record["log"] for record in records(log.path)][2:] == ["c"]


def test_long_lines_are_cut_at_16_kib(tmp_path):
    log = JsonLog(str(tmp_path / "log"))
    log.write("stdout", b"x" * 40_000 + b"\nshort\n" + b"y" * 20_000)
    log.close()
    lengths = [len(record["log"]) for record in records(log.path)]
    assert lengths == [PART_BYTES, PART_BYTES, 40_000 - 2 * PART_BYTES + 1, 6, PART_BYTES, 20_000 - PART_BYTES]


def test_bytes_that_are_no_text_are_replaced(tmp_path):
    log = JsonLog(str(tmp_path / "log"))
    log.write("stdout", b"\xff\x00\x7f\x1b[0m\xe2\x82\n")
    log.close()
    assert spoken(log.path) == "\ufffd\x00\x7f\x1b[0m\ufffd\n"


@given(st.lists(st.binary(max_size=100) | st.sampled_from([b"\n", b"\x7f", b"\\n", b'"', b"\r", b"z" * 17_000]), max_size=30))
def test_nothing_is_lost_however_it_is_cut(tmp_path_factory, chunks):
    path = str(tmp_path_factory.mktemp("log") / "log")
    log = JsonLog(path)
    for chunk in chunks:
        log.write("stdout", chunk)
    log.close()
    everything = b"".join(chunks)
    if not everything:
        assert not os.path.exists(path)
        return
    found = records(path)
    assert all(len(record["log"].encode()) <= 3 * PART_BYTES + 1 for record in found)
    assert all("\n" not in record["log"][:-1] for record in found)
    try:
        assert spoken(path) == everything.decode()
    except UnicodeDecodeError:
        assert spoken(path).count("\n") == everything.count(b"\n")


def test_files_rotate_at_their_size_and_the_oldest_goes(tmp_path):
    log = JsonLog(str(tmp_path / "log"), max_size_bytes=1000, max_files=3)
    for number in range(200):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1", "log.2"]
    assert all(os.stat(tmp_path / name).st_size <= 1100 for name in os.listdir(tmp_path))
    kept = spoken(tmp_path / "log.2") + spoken(tmp_path / "log.1") + spoken(tmp_path / "log")
    assert kept.endswith("line 198\nline 199\n")
    assert kept == "".join(f"line {number}\n" for number in range(200))[-len(kept) :]


def test_a_single_file_starts_anew(tmp_path):
    log = JsonLog(str(tmp_path / "log"), max_size_bytes=1000, max_files=1)
    for number in range(100):
        log.write("stdout", b"line %d\n" % number)
    log.close()
    assert os.listdir(tmp_path) == ["log"]
    assert spoken(log.path).endswith("line 99\n")


def test_a_record_that_a_crash_cut_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "log"
    path.write_bytes(b'{"log":"old\\n","stream":"stdout","time":"T"}\n{"log":"bro')
    log = JsonLog(str(path))
    log.write("stdout", b"new\n")
    log.close()
    assert json.loads(path.read_bytes().splitlines()[2])["log"] == "new\n"


def test_a_full_disk_costs_records_and_is_said_until_it_has_room_again(tmp_path, monkeypatch):
    log = JsonLog(str(tmp_path / "log"))
    log.write("stdout", b"before\n")
    real_write = os.write

    def half_then_full(fd, data):
        if len(data) > 10:
            return real_write(fd, bytes(data[:10]))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    class FullDisk:
        def __getattr__(self, name):
            return half_then_full_once if name == "write" else getattr(os, name)

    calls = []

    def half_then_full_once(fd, data):
        calls.append(data)
        return half_then_full(fd, bytes(data) if len(calls) == 1 else b"")

    with monkeypatch.context() as patched:
        patched.setattr(jsonlog, "os", FullDisk())
        log.write("stdout", b"lost\n")
    assert "No space left on device" in log.error
    assert [record["log"] for record in records(log.path)] == ["before\n"]
    log.write("stdout", b"after\n")
    log.close()
    assert log.error == ""
    assert [record["log"] for record in records(log.path)] == ["before\n", "after\n"]


@pytest.mark.parametrize(
    "data",
    [b'"quoted\\" \ttab\r\n', b"\x1b[31mred\x1b[0m\n\n", "größer 😀\n".encode(), b"\xff broken\nwhole\n", b"\0\x7f\x01 \n"],
)
def test_every_kind_of_text_reads_back_as_it_was(data):
    records = [json.loads(line) for line in encode_lines(data, "stdout", "T").splitlines()]
    assert "".join(record["log"] for record in records) == data.decode("utf-8", "replace")
    assert len(records) == data.count(b"\n") and all(record["log"].endswith("\n") for record in records)
