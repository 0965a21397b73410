import os
import threading
import time

import pytest

from inception.monitor import times
from inception.monitor.jsonlog import JsonLog, encode_part
from inception.monitor.logs import read_logs

SECOND = 1_000_000_000


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "c-json.log")


def said(lines):
    return b"".join(line.data for line in lines)


def write_lines(path, numbers, **limits):
    log = JsonLog(path, **limits)
    for number in numbers:
        log.write("stdout" if number % 2 else "stderr", b"line %d\n" % number)
    log.close()


def test_a_log_that_nothing_was_written_to_is_empty(path):
    assert list(read_logs(path)) == []
    assert list(read_logs(path, tail=5, follow=lambda: False)) == []


@pytest.mark.parametrize("tail", [0, 1, 2, 99, 100, 101, None])
def test_the_tail_counts_records_from_the_end(path, tail):
    write_lines(path, range(100))
    expected = [b"line %d\n" % number for number in range(100)]
    assert (
        [line.data for line in read_logs(path, tail=tail)] == expected[len(expected) - min(tail, 100) :]
        if tail is not None
        else expected
    )


def test_the_tail_of_large_records_crosses_blocks(path):
    log = JsonLog(path)
    for number in range(30):
        log.write("stdout", b"%02d" % number + b"x" * 10_000 + b"\n")
    log.close()
    assert [line.data[:2] for line in read_logs(path, tail=13)] == [b"%02d" % number for number in range(17, 30)]


def test_the_tail_reaches_into_rotated_files(path):
    write_lines(path, range(60), max_size_bytes=1500, max_files=10)
    assert os.path.exists(path + ".2")
    assert said(read_logs(path)) == b"".join(b"line %d\n" % number for number in range(60))
    assert next(read_logs(path, tail=45)).data == b"line 15\n"


def test_streams_and_times_select(path):
    start = times.parse("2026-11-23T10:00:00Z")
    with open(path, "wb") as file:
        for number in range(10):
            stream = "stdout" if number % 2 else "stderr"
            file.write(encode_part(b"%d" % number, stream, times.timestamp(start + number * SECOND)))
    assert said(read_logs(path, since_ns=start + 7 * SECOND)) == b"789"
    assert said(read_logs(path, until_ns=start + 2 * SECOND)) == b"012"
    assert said(read_logs(path, since_ns=start + 3 * SECOND, until_ns=start + 5 * SECOND)) == b"345"
    assert said(read_logs(path, streams=frozenset(["stderr"]))) == b"02468"


def test_what_is_no_record_is_skipped(path):
    with open(path, "wb") as file:
        file.write(b"not json\n[]\n{}\n" + b'{"log": 3, "stream": "stdout", "time": ""}\n\n')
        file.write(b"\xff" * 300_000 + b"\n")
        file.write(encode_part(b"good\n", "stdout", times.timestamp()))
        file.write(b'{"log":"half')
    assert said(read_logs(path)) == b"good\n"


def test_following_sees_everything_across_rotations(path):
    """The writer rotates as fast as it can, the reader must see every record of files that are kept long enough."""
    running = threading.Event()
    running.set()

    def write():
        log = JsonLog(path, max_size_bytes=20_000, max_files=500)
        for number in range(3000):
            log.write("stdout", b"line %d\n" % number)
            if number % 500 == 0:
                time.sleep(0.02)
        log.close()
        running.clear()

    writer = threading.Thread(target=write)
    writer.start()
    lines = [line.data for line in read_logs(path, follow=running.is_set)]
    writer.join()
    assert lines == [b"line %d\n" % number for number in range(3000)]


def test_following_a_log_that_is_cut_goes_on_with_its_new_start(path):
    log = JsonLog(path, max_size_bytes=300, max_files=1)
    log.write("stdout", b"one " + b"x" * 300 + b"\n")
    alive = True
    follower = read_logs(path, follow=lambda: alive)
    assert next(follower).data.startswith(b"one")
    log.write("stdout", b"two\n")
    assert next(follower).data == b"two\n"
    alive = False
    assert list(follower) == []
    log.close()


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-23T18:08:55.5Z", 1795457335_500_000_000),
        ("2026-11-23T19:08:55+01:00", 1795457335_000_000_000),
        ("2000-02-29T00:00:00Z", 951782400_000_000_000),
        ("2026-11-23", 1795392000_000_000_000),
        ("2026-11-23T18:08", 1795457280_000_000_000),
    ],
)
def test_times_are_read(text, ns):
    assert times.parse(text) == ns


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01T00:00:00Z", "2026-11-23T25:xx"])
def test_what_is_no_time_is_an_error(text):
    with pytest.raises(ValueError):
        times.parse(text)


def test_times_are_written_and_read_back():
    for ns in (0, 1, 1795457335_000_000_001, 1795457335_999_999_999):
        assert times.parse(times.timestamp(ns)) == ns
