from __future__ import annotations

import pytest

from inception.cli import idmap
from inception.errors import InvalidArgument, Unavailable


def test_both_ways_to_write_a_range():
    assert idmap.parse_range("100000,0,65536", "users") == (0, 100000, 65536)
    assert idmap.parse_range("0:100000:65536", "users") == (0, 100000, 65536)


@pytest.mark.parametrize("text", ["", "1,2", "a,b,c", "1:2:0", "4294967295:0:2"])
def test_what_is_no_range_is_refused(text):
    with pytest.raises(InvalidArgument, match="invalid mapping"):
        idmap.parse_range(text, "users")


@pytest.mark.parametrize(
    ("ranges", "inside", "outside", "result"),
    [
        ([(0, 100000, 10)], 0, 1000, [(0, 1000, 1), (1, 100000, 9)]),
        ([(0, 100000, 10)], 5, 1000, [(5, 1000, 1), (0, 100000, 5), (6, 100005, 4)]),
        ([(1, 100000, 10)], 0, 1000, [(0, 1000, 1), (1, 100000, 10)]),
        ([(0, 0, 10)], 0, 3, [(0, 3, 1), (1, 0, 3), (4, 4, 6)]),
    ],
)
def test_a_single_id_is_cut_out_of_both_sides_of_a_range(ranges, inside, outside, result):
    assert idmap.with_single(ranges, inside, outside) == result


def test_subordinate_ids_are_found_by_name_or_number(tmp_path):
    file = tmp_path / "subuid"
    file.write_text("other:1:2\nme:100000:65536\n77:5:6\n")
    assert idmap.subordinate_range(str(file), "me", 9) == (0, 100000, 65536)
    assert idmap.subordinate_range(str(file), "x", 77) == (0, 5, 6)
    with pytest.raises(Unavailable, match='no line matching user "x"'):
        idmap.subordinate_range(str(file), "x", 9)
