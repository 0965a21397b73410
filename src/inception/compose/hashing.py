"""What tells whether a service, network or volume is still what the file says: a hash of its configuration, kept as a label."""

from __future__ import annotations

from inception.jsontext import dumps
from inception.record import encode, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.compose.model import Network, Project, Service, Volume

# Changes of these make no new container: how an image comes about, how many there are, who starts first.
_IGNORED = ("build", "develop", "pull_policy", "scale", "depends_on", "profiles", "attach")


def service_hash(project: Project, service: Service) -> str:
    """The configuration hash of a container of *service*.

    What secrets and configs contain counts: a container whose file changed is made anew, since its files are copies.
    """
    value: dict[str, object] = encode(replace(service, deploy=replace(service.deploy, replicas=None)))
    for key in _IGNORED:
        value.pop(key, None)
    if service.secrets or service.configs:
        from inception.compose.files import service_files

        value["files"] = encode(service_files(project, service))
    return _digest(value)


def network_hash(network: Network) -> str:
    return _digest(encode(replace(network, key="")))


def volume_hash(volume: Volume) -> str:
    return _digest(encode(replace(volume, key="")))


def _digest(value: object) -> str:
    from _blake2 import blake2b  # the module behind hashlib, which loads OpenSSL: 12 ms

    return blake2b(dumps(_sorted(value)).encode(), digest_size=32).hexdigest()


def _sorted(value: object) -> object:
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value
