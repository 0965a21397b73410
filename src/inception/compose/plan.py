"""What `up` and `down` are going to do, as values: operations, each with its reason and with what has to come first.

A plan is a graph. Printing it is the dry run; the executor walks it, everything at once that waits for nothing.
"""

from __future__ import annotations

from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

# Kind -> the verb that a printed plan shows.
CREATE_NETWORK = "create network"
REMOVE_NETWORK = "remove network"
CREATE_VOLUME = "create volume"
REMOVE_VOLUME = "remove volume"
REMOVE_IMAGE = "remove image"
BUILD_IMAGE = "build image"
PULL_IMAGE = "pull image"
CREATE_CONTAINER = "create container"
RECREATE_CONTAINER = "recreate container"
START_CONTAINER = "start container"
STOP_CONTAINER = "stop container"
REMOVE_CONTAINER = "remove container"
AWAIT_SERVICE = "await service"


class Operation(Record):
    """One step. `target` is the name that the user sees, `key` the resource's key or the service's name in the file.

    `after` holds the ids of the operations that must be done first. For containers: `container_id` is the existing one,
    `number` its place among the service's replicas, `inherited` the anonymous volumes that a new one takes over, or that go
    with a removed one when `volumes` is set. For
    `await service`: `condition` is `service_healthy`, `service_completed_successfully` or `running_or_healthy`.
    """

    kind: str
    target: str
    key: str = ""
    reason: str = ""
    after: list[str] = []
    container_id: str = ""
    number: int = 0
    inherited: dict[str, str] = {}
    condition: str = ""
    required: bool = True
    volumes: bool = False

    @property
    def id(self) -> str:
        return f"{self.kind} {self.target}" + (f" {self.condition}" if self.condition else "")

    def __str__(self) -> str:
        what = f"{self.kind} {self.target}"
        if self.condition:
            what += f": {self.condition.replace('_', ' ')}"
        return what + (f" ({self.reason})" if self.reason else "")


class Plan(Record):
    """Operations in an order in which they could be done one after the other; `warnings` are for the user."""

    operations: list[Operation] = []
    warnings: list[str] = []

    def __iter__(self) -> Iterator[Operation]:
        return iter(self.operations)

    def __bool__(self) -> bool:
        return bool(self.operations)

    def __str__(self) -> str:
        return "".join(f"{operation}\n" for operation in self.operations)
