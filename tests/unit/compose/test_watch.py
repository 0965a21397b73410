"""What `develop.watch` says of a service, and which changes of files it is about."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from inception.compose.model import Project
from inception.compose.watch import Change, Watched, Watcher, pack, plan_batches, scan, watched_rules
from inception.errors import InvalidArgument

Loaded = Callable[..., Project]


def rules_of(loaded: Loaded, *rules: str, more: str = "build: .", folder: Path | None = None) -> list[Watched]:
    for name in ("src", "conf"):
        (folder / name).mkdir(exist_ok=True) if folder else None
    listed = "".join(f"\n        - {rule}" for rule in rules)
    project = loaded(f"services:\n  web:\n    {more}\n    develop:\n      watch:{listed}\n")
    return watched_rules(project, ["web"])


def relative(changes: list[Change]) -> list[tuple[str, bool]]:
    return [(change.relative, change.gone) for change in changes]


def test_changes_come_as_one_batch_and_ignored_files_not_at_all(loaded: Loaded, tmp_path: Path) -> None:
    rule = "{path: ./src, action: sync, target: /app, ignore: ['skip/', '*.log', '!keep.log']}"
    rules = rules_of(loaded, rule, folder=tmp_path)
    source = tmp_path / "src"
    (source / "old").write_text("1")
    (source / "skip").mkdir()
    with Watcher(rules) as watcher:
        assert relative(watcher.everything(rules[0])) == [("old", False)]
        (source / "skip/x").write_text("1")
        for name in (".git", "skip/deep", "new/deep"):
            (source / name).mkdir(parents=True)
        for name in ("a.log", "keep.log", ".git/HEAD", ".a.swp", "new/deep/file"):
            (source / name).write_text("1")
        assert relative(watcher.changes()) == [(name, False) for name in ("keep.log", "new", "new/deep", "new/deep/file")]
        (source / "new/deep/file").write_text("22")  # in a folder that came later
        assert relative(watcher.changes()) == [("new/deep/file", False)]
        os.rename(source / "old", source / "moved")
        (source / "new/deep/file").unlink()
        (source / "new/deep").rmdir()
        assert relative(watcher.changes()) == [("moved", False), ("new/deep", True), ("new/deep/file", True), ("old", True)]


def test_a_rule_may_be_about_one_file_or_about_some(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "one").write_text("1")
    (tmp_path / "conf/deep").mkdir()
    for name in ("a.go", "b.txt", "deep/c.go"):
        (tmp_path / "conf" / name).write_text("1")
    some = "{path: ./conf, action: restart, include: '**/*.go'}"
    single, several, top = rules_of(
        loaded, "{path: ./one, action: sync, target: /etc/}", some, some.replace("**/", ""), folder=tmp_path
    )
    assert list(scan(single, set())) == [""]
    change = Change(watched=single, relative="")
    assert (change.host_path, change.container_path) == (f"{tmp_path}/one", "/etc/one")
    assert sorted(scan(several, set())) == ["a.go", "deep/c.go"]
    assert sorted(scan(top, set())) == ["a.go"]


def test_the_dockerignore_of_a_build_counts_for_its_context(loaded: Loaded, tmp_path: Path) -> None:
    (tmp_path / ".dockerignore").write_text("secret\ncompose.yaml\n")
    (tmp_path / "secret").write_text("1")
    (whole,) = rules_of(loaded, "{path: ., action: rebuild}", folder=tmp_path)
    assert sorted(scan(whole, set())) == [".dockerignore", "conf", "src"]


def test_a_batch_says_what_is_to_be_done_for_each_service(loaded: Loaded, tmp_path: Path) -> None:
    sync, restart, rebuild, execute = rules_of(
        loaded,
        "{path: ./src, action: sync, target: /app}",
        "{path: ./src, action: sync+restart, target: /app/}",
        "{path: ./conf, action: rebuild}",
        "{path: ./conf, action: sync+exec, target: /etc, exec: {command: reload it}}",
        folder=tmp_path,
    )
    (tmp_path / "src/a").write_text("text")
    (batch,) = plan_batches([Change(watched=sync, relative="a"), Change(watched=execute, relative="b", gone=True)])
    assert (batch.rebuild, batch.restart, batch.changes) == (False, False, 2)
    assert batch.hooks[0].exec.command == ["reload", "it"]
    with tarfile.open(fileobj=io.BytesIO(pack(batch.synchronized))) as tar:
        assert [(member.name, member.size) for member in tar] == [("app/a", 4)]
    assert Change(watched=restart, relative="a").container_path == "/app/a"
    (batch,) = plan_batches([Change(watched=restart, relative="a"), Change(watched=rebuild, relative="x")])
    assert (batch.rebuild, batch.restart) == (True, True)


@pytest.mark.parametrize(
    ("rule", "more", "message"),
    [
        ("{path: ./src, action: rebuild}", "image: x", "can't watch service 'web' with action rebuild without a build context"),
        ("{path: ./src, action: sync}", "image: x", r"watch\[0\]: target: action sync needs the absolute path"),
        ("{path: ./src, action: sync+exec, target: /a}", "image: x", "exec: action .* needs a command"),
        ("{path: ./nope, action: restart}", "image: x", "path .*/nope does not exist"),
        ("{path: ./src, action: sync, target: /a}", "{image: x, volumes: ['.:/a']}", "is in the container already"),
    ],
)
def test_a_rule_that_can_not_be_followed_is_refused(loaded: Loaded, tmp_path: Path, rule: str, more: str, message: str) -> None:
    more = more.strip("{}").replace(", ", "\n    ")
    with pytest.raises(InvalidArgument, match=message):
        rules_of(loaded, rule, more=more, folder=tmp_path)


def test_without_rules_nothing_can_be_watched(loaded: Loaded) -> None:
    with pytest.raises(InvalidArgument, match="none of the selected services is configured for watch"):
        watched_rules(loaded("services: {web: {image: x}}"), ["web"])
