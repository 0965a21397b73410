"""`linux.intelRdt` on a folder that stands in for resctrl: what is made, written, compared and taken away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from inception.errors import Conflict, InvalidArgument, NotFound, Unavailable
from inception.oci.runtime import IntelRdt
from inception.runtime import resctrl

L3, MB = "L3:0=7f0;1=1f", "MB:0=20;1=70"


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "schemata").write_text("    L3:0=fff;1=fff\n    MB:0=100;1=100\n")
    (tmp_path / "mon_groups").mkdir()

    def mkdir(path: str, root: str) -> None:  # the kernel fills a new group
        make(path, root)
        if "mon_groups" not in path:
            os.mkdir(f"{path}/mon_groups")

    make = resctrl._mkdir
    monkeypatch.setattr(resctrl, "_mkdir", mkdir)
    monkeypatch.setattr(resctrl, "rmdir", shutil.rmtree)  # which rmdir(2) does there
    return tmp_path


def test_a_class_of_the_containers_name_is_made_and_goes_with_it(root: Path):
    rdt = IntelRdt(l3_cache_schema=L3, mem_bw_schema=MB, schemata=["L2:0=f"])
    made = resctrl.enter(rdt, "web", 77, str(root))
    assert (root / "web/schemata").read_text() == f"{L3}\n{MB}\nL2:0=f\n"
    assert (root / "web/tasks").read_text() == "77"
    assert made == [f"{root}/web"]
    resctrl.remove(made)
    assert not (root / "web").exists()
    resctrl.remove(made)


def test_a_class_with_a_name_is_made_and_stays_for_others(root: Path):
    rdt = IntelRdt(clos_id="gold", l3_cache_schema=L3, enable_monitoring=True)
    made = resctrl.enter(rdt, "web", 77, str(root))
    assert made == [f"{root}/gold/mon_groups/web"]
    assert (root / "gold/mon_groups/web/tasks").read_text() == "77" == (root / "gold/tasks").read_text()
    resctrl.remove(made)
    assert (root / "gold/tasks").exists() and not (root / "gold/mon_groups/web").exists()


def test_a_class_that_is_there_must_have_what_is_asked_for(root: Path):
    (root / "gold").mkdir()
    (root / "gold/schemata").write_text("    L3:0=00000ff;1=0f\n    MB:0= 20;1= 70\n")
    assert resctrl.enter(IntelRdt(clos_id="gold", l3_cache_schema="L3:0=ff", mem_bw_schema=MB), "a", 1, str(root)) == []
    with pytest.raises(Conflict, match="another schema than 'L3:0=f'"):
        resctrl.enter(IntelRdt(clos_id="gold", l3_cache_schema="L3:0=f"), "b", 2, str(root))
    assert (root / "gold/tasks").read_text() == "1"


def test_without_a_schema_nothing_is_written_but_the_task(root: Path):
    (root / "gold/mon_groups").mkdir(parents=True)
    assert resctrl.enter(IntelRdt(clos_id="gold"), "web", 5, str(root)) == []
    assert sorted(os.listdir(root / "gold")) == ["mon_groups", "tasks"]
    with pytest.raises(NotFound, match="there is no class 'silver'"):
        resctrl.enter(IntelRdt(clos_id="silver"), "web", 5, str(root))
    assert not (root / "silver").exists()


def test_the_default_class_is_the_root(root: Path):
    made = resctrl.enter(IntelRdt(clos_id="/", enable_monitoring=True), "web", 5, str(root))
    assert (root / "tasks").read_text() == "5" and made == [f"{root}/mon_groups/web"]


def test_what_the_kernel_refuses_leaves_nothing_and_is_told_in_its_words(root: Path, monkeypatch: pytest.MonkeyPatch):
    (root / "info").mkdir()
    (root / "info/last_cmd_status").write_text("mask f00f has non-consecutive 1-bits\n")
    real = os.open

    def refuse(path: str, *rest: int, **others: int | None) -> int:
        if str(path).endswith("schemata"):
            raise OSError(22, "Invalid argument")
        return real(path, *rest, **others)

    monkeypatch.setattr(resctrl.os, "open", refuse)
    with pytest.raises(Unavailable, match=r"web/schemata: Invalid argument \(mask f00f has non-consecutive"):
        resctrl.enter(IntelRdt(l3_cache_schema="L3:0=f00f"), "web", 5, str(root))
    assert not (root / "web").exists()


def test_other_schemata_for_one_that_runs(root: Path):
    resctrl.enter(IntelRdt(l3_cache_schema=L3), "web", 5, str(root))
    resctrl.update(IntelRdt(), "web", [MB], str(root))
    assert (root / "web/schemata").read_text() == f"{L3}\n{MB}\n"
    with pytest.raises(Unavailable, match="no resctrl"):
        resctrl.update(IntelRdt(), "web", [MB], None)


@pytest.mark.parametrize(
    ("rdt", "message"),
    [
        (IntelRdt(clos_id="../x"), "linux.intelRdt.closID: '../x' is no name of a class"),
        (IntelRdt(clos_id="info"), "linux.intelRdt.closID: 'info' is no name of a class"),
        (IntelRdt(l3_cache_schema="L3:0=f\nL3:1=f"), "linux.intelRdt.l3CacheSchema: is more than one line"),
        (IntelRdt(schemata=["L3:0=f", "a\nb"]), r"linux.intelRdt.schemata\[1\]: is more than one line"),
        (IntelRdt(mem_bw_schema="L3:0=f"), "linux.intelRdt.memBwSchema: 'L3:0=f' does not start with MB:"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(rdt: IntelRdt, message: str):
    with pytest.raises(InvalidArgument, match=message):
        resctrl.check_intel_rdt(rdt, "/sys/fs/resctrl")


def test_a_machine_without_it_says_so():
    with pytest.raises(InvalidArgument, match=r"linux.intelRdt: this machine has no resctrl filesystem mounted"):
        resctrl.check_intel_rdt(IntelRdt(clos_id="gold"), None)
