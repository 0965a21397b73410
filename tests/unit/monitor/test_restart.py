import pytest

from inception.monitor.restart import RestartPolicy


def test_delays_double_from_100_ms_to_a_minute():
    policy = RestartPolicy("always")
    delays = [policy.next_delay_s(1, ran_s=0.1) for _ in range(12)]
    assert delays[:4] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-2:] == [60.0, 60.0]
    assert policy.restart_count == 12


def test_a_run_of_ten_seconds_starts_the_delays_anew():
    policy = RestartPolicy("always")
    for _ in range(5):
        policy.next_delay_s(1, ran_s=1)
    assert policy.next_delay_s(1, ran_s=10) == 0.1


@pytest.mark.parametrize(
    ("name", "exit_code", "restarts"),
    [
        ("no", 1, False),
        ("", 1, False),
        ("on-failure", 0, False),
        ("on-failure", 137, True),
        ("always", 0, True),
        ("unless-stopped", 0, True),
    ],
)
def test_each_policy_restarts_what_it_says(name, exit_code, restarts):
    assert (RestartPolicy(name).next_delay_s(exit_code, 1) is not None) == restarts


def test_on_failure_gives_up_after_its_retries():
    policy = RestartPolicy("on-failure", maximum_retries=2)
    assert [policy.next_delay_s(1, 1) is not None for _ in range(3)] == [True, True, False]


@pytest.mark.parametrize("name", ["on-failure", "always", "unless-stopped"])
def test_a_requested_stop_ends_restarts(name):
    policy = RestartPolicy(name)
    policy.stop_requested = True
    assert policy.next_delay_s(1, 100) is None
