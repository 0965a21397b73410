from __future__ import annotations

import os
import threading

import pytest

from inception.errors import InvalidArgument
from inception.network import names


@pytest.fixture
def table(tmp_path):
    return f"{tmp_path}/names/net"


def test_published_names_answer_and_withdrawn_ones_do_not(table):
    names.publish(table, ["Web", "www.example."], "10.0.0.2")
    names.publish(table, ["web"], "10.0.0.3")
    assert names.lookup(table, "WEB") == ["10.0.0.2", "10.0.0.3"]
    assert names.lookup(table, "www.example") == ["10.0.0.2"]
    names.withdraw(table, ["web", "www.example"], "10.0.0.2")
    names.withdraw(table, ["web", "www.example"], "10.0.0.2")
    assert names.read_table(table) == {"web": ["10.0.0.3"]}
    assert names.lookup(table, "db") == []


def test_the_table_is_folders_of_empty_files(table):
    names.publish(table, ["web"], "10.0.0.2")
    assert os.stat(f"{table}/web/10.0.0.2").st_size == 0


@pytest.mark.parametrize("name", ["", ".", "..", "../../etc", "a/b", "a\nb", "x" * 254, ".hidden", "a\0b"])
def test_names_that_are_no_names_reach_no_file(table, name, tmp_path):
    with pytest.raises(InvalidArgument, match="invalid network name for a container"):
        names.publish(table, [name], "10.0.0.2")
    with pytest.raises(InvalidArgument):
        names.withdraw(table, [name], "10.0.0.2")
    assert names.lookup(table, name) == []
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("address", ["", "../x", "10.0.0", "::x"])
def test_addresses_that_are_no_addresses_reach_no_file(table, address):
    with pytest.raises(InvalidArgument, match="invalid IP address"):
        names.publish(table, ["web"], address)


def test_publishing_and_withdrawing_at_once_loses_no_name(table):
    def come_and_go(address: str) -> None:
        for _ in range(200):
            names.publish(table, ["web"], address)
            assert address in names.lookup(table, "web")
            names.withdraw(table, ["web"], address)

    errors: list[BaseException] = []

    def run(address: str) -> None:
        try:
            come_and_go(address)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(f"10.0.0.{n}",)) for n in range(2, 6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert names.read_table(table) == {}


def test_a_table_is_removed_with_all_that_is_in_it(table):
    names.publish(table, ["web", "db"], "10.0.0.2")
    names.remove_table(table)
    names.remove_table(table)
    assert not os.path.exists(table)
