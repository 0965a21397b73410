"""A running container's names when its networks change: what its resolver knows, resolv.conf, hosts.

Both files are rewritten in place, since they are mounted; resolv.conf only while it is the one that we wrote. It was written
just before `hostname`, so one that is younger is the user's.
"""

from __future__ import annotations

import os

from inception.engine import files
from inception.engine.surroundings import hostname
from inception.monitor.client import MonitorGone, set_resolver
from inception.monitor.handover import dns_sockets
from inception.network import resolv

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.config import EndpointState
    from inception.engine.engine import Engine
    from inception.engine.networks import Network
    from inception.engine.records import ContainerRecord


def follow(engine: Engine, record: ContainerRecord, before: dict[str, EndpointState], netns_fd: int) -> None:
    """Let the container of *netns_fd*, which was in the networks of *before*, ask for names in those of *record*."""
    then, now = _networks(engine, before), _networks(engine, record.state.endpoints)
    dns = files.plan_dns(engine, record, now)
    sockets = dns_sockets(netns_fd) if dns is not None and not files.has_resolver(then) else ()
    try:
        set_resolver(engine.run_dir(record.id), dns, sockets)
    except MonitorGone:
        return  # the container ends at this moment
    finally:
        for fd in sockets:
            os.close(fd)
    folder = engine.run_dir(record.id)
    if files.has_resolver(then) != files.has_resolver(now):
        _rewrite_resolv_conf(folder, files.plan_resolv_conf(record, now))
    _rewrite_hosts(engine, record, before)


def _networks(engine: Engine, endpoints: dict[str, EndpointState]) -> list[Network]:
    return [engine.networks.get(endpoint.network_id) for endpoint in endpoints.values()]


def _rewrite_resolv_conf(folder: str, text: str) -> None:
    path = f"{folder}/resolv.conf"
    mark = os.stat(f"{folder}/hostname").st_mtime_ns
    if os.stat(path).st_mtime_ns <= mark:
        files.write(path, text.encode())
        os.utime(path, ns=(mark, mark))


def _rewrite_hosts(engine: Engine, record: ContainerRecord, before: dict[str, EndpointState]) -> None:
    """Lines come and go with addresses; what else is in the file stays as it is."""
    path = f"{engine.run_dir(record.id)}/hosts"
    own = resolv.own_name(hostname(engine, record), record.config.domainname)
    then, now = (
        [f"{address}\t{own}" for endpoint in group.values() for address in endpoint.addresses]
        for group in (before, record.state.endpoints)
    )
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        lines = file.read().splitlines()
    lines = [line for line in lines if line not in then or line in now]
    lines += [line for line in now if line not in lines]
    files.write(path, "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape"))
