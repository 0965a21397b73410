import importlib.util
import pathlib

import pytest

spec = importlib.util.spec_from_file_location("monitor_containers", pathlib.Path(__file__).with_name("containers.py"))
containers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(containers)


@pytest.fixture
def fake(tmp_path):
    """Makes fakes: `fake("echo hi", restart="always")`; each is ended with the test."""
    made = []

    def make(command, **config):
        made.append(containers.Fake(tmp_path, command, **config))
        return made[-1]

    yield make
    for one in made:
        one.kill()


@pytest.fixture(name="containers")
def containers_module():
    return containers
