import pytest

from inception.monitor.health import HealthCheck
from inception.monitor.loop import Loop
from inception.oci.image import Healthcheck

SECOND = 1_000_000_000


class Ward:
    """A health check on a clock that stands still until it is moved; probes are real processes."""

    def __init__(self, spawn, **check):
        self.now = 1000.0
        self.loop = Loop(clock=lambda: self.now)
        self.command = "exit 0"
        self.seen = []
        self.spawned = 0
        self._spawn = spawn
        options = {"interval": 30 * SECOND, "timeout": 5 * SECOND, "retries": 3, **check}
        self.check = HealthCheck(self.loop, Healthcheck(test=["CMD"], **options), self.spawn, self.seen.append)
        self.check.start()

    def spawn(self, stdio):
        self.spawned += 1
        return self._spawn(self.command.encode(), {}, stdio)

    def after(self, seconds, command):
        """Lets *seconds* pass; when a probe is due, it is *command*, and its result is waited for."""
        self.command = command
        probes = self.spawned
        self.now += seconds
        self.loop.run_timers()
        if self.spawned > probes:
            results = len(self.seen)
            while len(self.seen) == results:
                self.loop.run_once(10)
        return self.seen[-1]


@pytest.fixture
def ward(containers):
    made = []

    def make(**check):
        made.append(Ward(containers.spawn_shell, **check))
        return made[-1]

    yield make
    for one in made:
        one.check.stop()
        one.loop.close()


def test_the_first_probe_comes_after_the_interval_and_its_success_is_healthy(ward):
    one = ward()
    assert one.after(29.9, "exit 0").status == "starting"
    assert one.spawned == 0
    health = one.after(0.1, "echo fine; exit 0")
    assert (health.status, health.failing_streak) == ("healthy", 0)
    assert (health.log[0].exit_code, health.log[0].output) == (0, "fine\n")


def test_only_failures_in_a_row_make_it_unhealthy_and_a_success_heals(ward):
    one = ward()
    states = [one.after(30, command).status for command in ["exit 0", *["exit 1"] * 2, "exit 0", *["exit 7"] * 3, "exit 0"]]
    assert states == ["healthy"] * 6 + ["unhealthy", "healthy"]


def test_failures_in_the_start_period_do_not_count_and_probes_come_faster(ward):
    one = ward(start_period=60 * SECOND, start_interval=5 * SECOND, retries=1)
    for _ in range(11):
        health = one.after(5, "exit 1")
        assert (health.status, health.failing_streak) == ("starting", 0)
    assert one.spawned == 11
    assert one.after(5, "exit 1").status == "unhealthy"


def test_without_a_start_interval_the_first_probes_come_early_and_at_distances_of_a_quarter_of_the_time(ward):
    one = ward(start_period=60 * SECOND, retries=1)
    probes = []
    for tenth in range(1, 500):
        assert one.after(0.1, "exit 1").failing_streak == 0
        if one.spawned > len(probes):
            probes.append(tenth)
    assert probes[:10] == [1, 2, 3, 4, 5, 7, 9, 12, 15, 19]
    assert probes[-1] - probes[-2] in (50, 51)  # Docker's five seconds


def test_a_success_ends_the_start_period(ward):
    one = ward(start_period=600 * SECOND, start_interval=5 * SECOND, retries=1)
    assert one.after(5, "exit 0").status == "healthy"
    one.after(5, "exit 1")
    assert one.spawned == 1  # the long interval holds now
    assert one.after(25, "exit 1").status == "unhealthy"


def test_a_probe_out_of_time_is_killed_and_counts_as_failure(ward):
    one = ward(timeout=2 * SECOND, retries=1)
    one.command = "exec sleep 1000"  # no shell between, whose child would be left
    one.now += 30
    one.loop.run_timers()
    health = one.after(2, "")
    assert health.status == "unhealthy"
    assert (health.log[0].exit_code, health.log[0].output) == (-1, "Health check exceeded timeout (2s)")


def test_a_probe_that_cannot_start_is_a_failure_with_words(ward):
    one = ward(retries=1)
    one.command = "!"
    one.now += 30
    one.loop.run_timers()
    assert one.seen[-1].status == "unhealthy"
    assert "No such file" in one.seen[-1].log[0].output


def test_output_is_bounded_and_five_results_are_kept(ward):
    one = ward()
    for number in range(7):
        health = one.after(30, f"head -c 300000 /dev/zero | tr '\\0' {number}")
    assert [result.output[0] for result in health.log] == ["2", "3", "4", "5", "6"]
    assert all(len(result.output) == 4096 + len("...") for result in health.log)


def test_a_paused_container_is_not_asked(ward):
    one = ward()
    one.check.set_paused(True)
    one.after(300, "exit 1")
    assert one.spawned == 0
    one.check.set_paused(False)
    assert one.after(30, "exit 0").status == "healthy"


def test_stopping_ends_a_running_probe(ward):
    one = ward()
    one.command = "exec sleep 1000"  # no shell between, whose child would be left
    one.now += 30
    one.loop.run_timers()
    one.check.stop()
    one.now += 1000
    one.loop.run_timers()
    assert (one.spawned, len(one.seen)) == (1, 1)
