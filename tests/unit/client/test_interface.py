"""The engine here and the engine elsewhere have the same verbs, with the same arguments."""

from __future__ import annotations

import inspect

import pytest

from inception.client.containers import RemoteAttachment, RemoteContainer, RemoteContainers, RemoteExec
from inception.client.engine import RemoteEngine
from inception.client.images import RemoteImages
from inception.client.networks import RemoteNetwork, RemoteNetworks, RemoteVolume, RemoteVolumes
from inception.client.system import RemoteEvents, RemoteSystem
from inception.engine import Engine
from inception.engine.container import Container
from inception.engine.containers import Containers
from inception.engine.events import Events
from inception.engine.exec import ExecProcess
from inception.engine.images import Images
from inception.engine.networks import Network, Networks
from inception.engine.system import System
from inception.engine.volumes import Volume, Volumes
from inception.monitor.client import AttachStream

PAIRS = [
    (Container, RemoteContainer),
    (Containers, RemoteContainers),
    (Images, RemoteImages),
    (Networks, RemoteNetworks),
    (Network, RemoteNetwork),
    (Volumes, RemoteVolumes),
    (Volume, RemoteVolume),
    (System, RemoteSystem),
    (Events, RemoteEvents),
    (AttachStream, RemoteAttachment),
    (ExecProcess, RemoteExec),
    (Engine, RemoteEngine),
]
#: What only an engine on its own machine has: the ways to its kernel, store and files, and what its server alone calls.
OWN = {
    "Engine": {
        "boot_checked", "cgroups", "container_dir", "database", "filters", "join_moves", "root", "run_dir", "run_root", "store",
        "tag", "templates", "users",
    },
    "Containers": {"close", "supervisor", "thread_of"},
    "Images": {"note_tags", "open"},
    "Volume": {"filled", "host_path"},
    "Network": {"bridge"},
    "Events": {"emit", "path"},
    "AttachStream": {"claim_release", "exit_status", "frame", "request", "send", "wait_exit"},
    "ExecProcess": {"kill", "stdin_fileno"},
}  # fmt: skip


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


@pytest.mark.parametrize("here, elsewhere", PAIRS, ids=[here.__name__ for here, _ in PAIRS])
def test_every_verb_is_on_both(here: type, elsewhere: type) -> None:
    assert public(here) - public(elsewhere) - OWN.get(here.__name__, set()) == set()


@pytest.mark.parametrize("here, elsewhere", PAIRS, ids=[here.__name__ for here, _ in PAIRS])
def test_verbs_take_the_same_arguments(here: type, elsewhere: type) -> None:
    for name in public(here) & public(elsewhere):
        ours, theirs = getattr(here, name), getattr(elsewhere, name)
        if not inspect.isfunction(ours) or (here, name) == (Container, "start"):  # its `connect` is the server's
            continue
        takes_all = any(each.kind is each.VAR_KEYWORD for each in inspect.signature(theirs).parameters.values())
        wanted, found = list(inspect.signature(ours).parameters), list(inspect.signature(theirs).parameters)
        assert wanted == found or takes_all, f"{here.__name__}.{name}: {wanted}, elsewhere {found}"
