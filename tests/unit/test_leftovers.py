"""What counts as this session's when several work on one machine."""

from __future__ import annotations

from pathlib import Path

from tests import leftovers

from inception.network.address import engine_tag


def test_what_names_an_engine_of_another_session_is_not_ours(tmp_path: Path):
    root = tmp_path / "engine/root"
    root.mkdir(parents=True)
    (root / "state.db").touch()
    ours, foreign = engine_tag(str(root)), engine_tag("/somewhere/else")
    for tag, expected in ((ours, True), (foreign, False)):
        assert leftovers._is_ours("links", f"inc{tag}babcdefg", tmp_path) is expected
        assert leftovers._is_ours("nft tables", f"table ip inception-{tag}", tmp_path) is expected
    for folder, expected in ((root, True), (Path("/somewhere/else"), False)):
        command = f"17 python -IS part.py inception.monitor.process {folder}/containers/1/monitor.json"
        assert leftovers._is_ours("processes", command, tmp_path) is expected


def test_what_names_nobody_is_ours_while_nobody_else_works_here(tmp_path: Path, monkeypatch):
    for others in (True, False):
        monkeypatch.setattr(leftovers, "_others_at_work", lambda others=others: others)
        assert leftovers._is_ours("mounts", "/run/netns/somebodys", tmp_path) is not others
        assert leftovers._is_ours("mounts", f"{tmp_path}/merged", tmp_path)


def test_what_an_engine_set_for_its_networks_is_put_back_unless_others_may_rely_on_it(tmp_path: Path, monkeypatch):
    changed, same = tmp_path / "forwarding", tmp_path / "accept_ra"
    changed.write_text("1\n")
    same.write_text("2\n")
    before = {str(changed): "0\n", str(same): "2\n", str(tmp_path / "a link that has gone"): "1\n"}
    for others, expected in ((True, "1\n"), (False, "0\n")):
        monkeypatch.setattr(leftovers, "_others_at_work", lambda others=others: others)
        leftovers.restore_routing(before)
        assert changed.read_text() == expected
