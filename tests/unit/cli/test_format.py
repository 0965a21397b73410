from __future__ import annotations

import time

import pytest

from inception.cli import format as fmt
from inception.cli.ps import ports_text
from inception.engine.config import PortBinding

LISTING = fmt.Listing({"ID": "CONTAINER ID", "Names": "NAMES", "Labels": "LABELS"}, ("ID", "Names"))
ROWS = [
    {"ID": "7", "Names": "web", "Labels": "a=b", "Label": {"com.x.my-tier": "front"}.get},
    {"ID": "8", "Names": "a-much-longer-name", "Labels": "", "Label": lambda _name: ""},
]


def test_tables_have_three_blanks_between_columns_that_are_at_least_ten_wide():
    assert LISTING.render(ROWS) == ("CONTAINER ID   NAMES\n7              web\n8              a-much-longer-name\n")
    assert fmt.columns([["A", "B"], ["1", "2"]]) == "A         B\n1         2\n"


def test_an_empty_table_is_its_heading():
    assert LISTING.render([], "table") == "CONTAINER ID   NAMES\n"


def test_a_table_template_brings_its_headings():
    assert LISTING.render(ROWS[:1], "table {{.Names}}\\t{{.ID | upper}}") == "NAMES     CONTAINER ID\nweb       7\n"
    assert LISTING.render(ROWS[:1], 'table {{.Label "com.x.my-tier"}}') == "my tier\nfront\n"


def test_a_template_is_one_line_a_row_and_reads_backslash_t():
    assert LISTING.render(ROWS, "{{.ID}}\\t{{.Names}}") == "7\tweb\n8\ta-much-longer-name\n"


def test_json_is_one_object_a_row_with_sorted_keys_and_no_methods():
    assert LISTING.render(ROWS[:1], "json") == '{"ID":"7","Labels":"a=b","Names":"web"}\n'


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0B"), (999, "999B"), (1000, "1kB"), (1234567, "1.23MB"), (16430000000, "16.4GB")]
)
def test_sizes_have_three_digits_and_powers_of_1000(size, text):
    assert fmt.human_size(size) == text


def test_memory_has_powers_of_1024():
    assert fmt.human_bytes(64 << 20) == "64MiB"
    assert fmt.human_bytes(1536) == "1.5KiB"


def test_ids_commands_and_control_characters():
    assert fmt.short_id("sha256:0123456789abcdef") == "0123456789ab"
    assert fmt.ellipsis("/docker-entrypoint.sh nginx", 20) == "/docker-entrypoint.…"
    assert fmt.quoted('sh -c "x\ty\x1b"') == '"sh -c \\"x\\ty\\x1b\\""'
    assert fmt.printable("a\x1b[31m\nb") == "a\\x1b[31m\\nb"


def test_times(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        assert fmt.local_time("2026-11-23T18:00:00.5Z") == "2026-11-23 18:00:00 +0000 UTC"
    finally:
        monkeypatch.undo()
        time.tzset()
    assert fmt.epoch("1970-01-01T00:01:00.5Z") == 60.5
    assert fmt.epoch("0001-01-01T00:00:00Z") == 0
    assert fmt.ago("") == "N/A"


def test_ports_join_into_ranges_and_mappings_whose_sides_differ_come_last():
    def port(container: int, host: int, ip: str = "", protocol: str = "tcp") -> PortBinding:
        return PortBinding(container_port=container, host_port=host, host_ip=ip, protocol=protocol)

    assert ports_text([], ["80/tcp", "81/tcp", "53/udp"]) == "53/udp, 80-81/tcp"
    assert ports_text([port(80, 8080)], ["80/tcp", "443/tcp"]) == "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
    assert ports_text([port(80, 80), port(81, 81)], []) == "0.0.0.0:80-81->80-81/tcp, [::]:80-81->80-81/tcp"
    assert ports_text([port(80, 80, "127.0.0.1")], []) == "127.0.0.1:80->80/tcp"
    assert ports_text([port(80, 8080, "::1")], []) == "[::1]:8080->80/tcp"
