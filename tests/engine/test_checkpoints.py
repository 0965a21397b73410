"""Checkpoints of the engine's containers: what one was doing goes on under a monitor of its own, as if nothing had been."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.waiting import wait_until

from inception import (
    Conflict,
    Engine,
    InvalidArgument,
    MountConfig,
    NotFound,
    PortBinding,
    RestartPolicy,
    StartFailed,
    Unavailable,
)
from inception.engine.container import Container
from inception.oci.image import Healthcheck

from .conftest import findings, make

pytestmark = pytest.mark.needs("root", "nft")
with_criu = pytest.mark.needs("criu-works")
COUNTER = "i=0; while :; do i=$((i + 1)); echo $i; sleep 0.05; done"


def _count(container: Container) -> int:
    lines = list(container.logs(tail=1))
    return int(lines[0].data) if lines else 0


def _goes_on(container: Container, above: int) -> None:
    wait_until(lambda: _count(container) > above)
    lines = [int(line.data) for line in container.logs()]
    assert lines == list(range(1, len(lines) + 1)), "one that had begun anew would have counted from 1"


@with_criu
def test_it_goes_on_with_its_log_network_mounts_and_policy(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "word").write_text("told\n")
    container = make(
        engine,
        "sh",
        "-c",
        f"echo kept >/scratch/file; httpd -p 80; {COUNTER}",
        network_mode="bridge",
        ports=[PortBinding(container_port=80, host_ip="127.0.0.1")],
        restart=RestartPolicy(name="always"),
        healthcheck=Healthcheck(test=["CMD", "true"], interval=10**8),
        mounts=[
            MountConfig(type="bind", target="/mnt", source=str(tmp_path)),
            MountConfig(type="volume", target="/data", source="saved"),
            MountConfig(type="tmpfs", target="/scratch"),
        ],
    )
    container.start()
    wait_until(lambda: _count(container) > 3)
    container.checkpoint("one")
    state = container.state
    assert (state.status, state.exit_code) == ("exited", 137), "its policy does not start it again"
    assert container.checkpoints() == ["one"]
    images = Path(engine.container_dir(container.id), "checkpoints/one")
    assert images.stat().st_mode & 0o777 == 0o700
    saved = _count(container)

    container.start(checkpoint="one")
    _goes_on(container, saved)
    state = container.state
    assert state.status == "running" and state.endpoints["bridge"].ipv4_address
    found = container.exec(["sh", "-c", "cat /mnt/word /scratch/file; touch /data/x; ip -4 -o addr show eth0; hostname"])
    assert found.stdout.startswith(b"told\nkept\n") and state.endpoints["bridge"].ipv4_address.encode() in found.stdout
    assert found.stdout.splitlines()[-1].decode() == container.short_id
    [binding] = container.port("80")
    wait_until(lambda: _answers(binding.host_port))
    wait_until(lambda: container.state.health is not None and container.state.health.status == "healthy")
    container.pause()
    container.unpause()

    # Its policy starts it anew, not from there.
    os.kill(container.state.pid, 9)
    wait_until(lambda: container.state.restart_count == 1 and container.state.status == "running")
    wait_until(lambda: _count(container) < saved)
    container.stop(timeout_s=0)
    assert container.state.exit_code == 137


def _answers(port: int) -> bool:
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/none", timeout=5)
    except urllib.error.HTTPError as error:
        return error.code == 404
    except OSError:
        return False
    return False


@with_criu
def test_one_that_is_left_running_goes_on_and_its_terminal_comes_back(engine: Engine, tmp_path: Path) -> None:
    script = "i=0; while read word; do i=$((i + 1)); echo $i $word; done"
    container = make(engine, "sh", "-c", script, tty=True, open_stdin=True)
    container.start()
    with container.attach() as stream:
        stream.write(b"a\n")
        wait_until(lambda: b"1 a" in b"".join(line.data for line in container.logs()))
    pid = container.state.pid
    container.checkpoint("there", checkpoint_dir=str(tmp_path), leave_running=True)
    assert container.state.pid == pid and container.state.status == "running"
    assert container.checkpoints() == [] and container.checkpoints(str(tmp_path)) == ["there"]
    with container.attach() as stream:
        stream.write(b"b\n")
        wait_until(lambda: b"2 b" in b"".join(line.data for line in container.logs()))
    container.kill()
    with container.start_attached(checkpoint="there", checkpoint_dir=str(tmp_path)) as stream:
        stream.write(b"c\n")
        wait_until(lambda: b"2 c" in b"".join(line.data for line in container.logs()))
        container.resize(10, 20)
        container.kill()
    container.remove_checkpoint("there", checkpoint_dir=str(tmp_path))
    assert container.checkpoints(str(tmp_path)) == []


@with_criu
def test_the_end_of_a_monitor_is_the_end_of_what_was_restored(engine: Engine) -> None:
    container = make(engine, "sh", "-c", COUNTER)
    container.start()
    container.checkpoint("one")
    container.start(checkpoint="one")
    container.reload()
    os.kill(container.record.owner_pid, 9)
    wait_until(lambda: container.state.status == "exited")
    container.remove()
    assert findings(engine) == []


@with_criu
def test_a_damaged_checkpoint_starts_nothing_and_says_why(engine: Engine) -> None:
    container = make(engine, "sh", "-c", COUNTER)
    container.start()
    container.checkpoint("one")
    next(Path(engine.container_dir(container.id), "checkpoints/one").glob("mm-*.img")).unlink()
    with pytest.raises(StartFailed, match=f"start {container.name}: criu: .*restore.log"):
        container.start(checkpoint="one")
    assert container.state.status == "exited" and "criu" in container.state.error
    assert findings(engine) == []
    container.start()
    assert container.state.status == "running"


@with_criu
def test_names_are_taken_once_and_wrong_ones_are_named(engine: Engine) -> None:
    container = make(engine, "sleep", "60", name="saved")
    with pytest.raises(Conflict, match="is not running"):
        container.checkpoint("one")
    container.start()
    container.checkpoint("one", leave_running=True)
    with pytest.raises(Conflict, match="checkpoint with name one already exists for container saved"):
        container.checkpoint("one")
    for name in ("../one", "", "a b"):
        with pytest.raises(InvalidArgument, match="Invalid checkpoint ID"):
            container.checkpoint(name)
        with pytest.raises(NotFound, match="does not exist for container saved"):
            container.remove_checkpoint(name)
    container.kill()
    with pytest.raises(NotFound, match="checkpoint two does not exist for container saved"):
        container.start(checkpoint="two")
    assert container.state.status == "exited"
    folder = Path(engine.container_dir(container.id))
    container.remove()
    assert not folder.exists()


def test_without_criu_it_runs_on_and_a_user_is_told(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    container = make(engine, "sleep", "60", name="kept")
    container.start()
    monkeypatch.setenv("INCEPTION_CRIU", "/bin/false")
    with pytest.raises(Unavailable, match="cannot checkpoint container kept: criu ended without an answer") as raised:
        container.checkpoint("one")
    assert "criu check" in raised.value.hint
    assert container.state.status == "running" and container.checkpoints() == []
    assert container.exec(["true"]).exit_code == 0, "it is not frozen any more"
