"""`checkpoint`: create, ls, rm. `start --checkpoint` is with `start`."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import Listing, write

LISTING = Listing({"Name": "CHECKPOINT NAME"}, ("Name",))
_DIR = "      --checkpoint-dir string   Use a custom checkpoint storage directory\n"


def create(call: Call) -> int:
    name, checkpoint = call.arguments
    flags = call.flags
    container = call.engine.containers.get(name)
    container.checkpoint(checkpoint, checkpoint_dir=flags.text("checkpoint-dir"), leave_running=flags.on("leave-running"))
    print(checkpoint)
    return 0


def ls(call: Call) -> int:
    container = call.engine.containers.get(call.arguments[0])
    found = container.checkpoints(call.flags.text("checkpoint-dir"))
    write(LISTING.render([{"Name": name} for name in found], ""))
    return 0


def rm(call: Call) -> int:
    name, checkpoint = call.arguments
    container = call.engine.containers.get(name)
    container.remove_checkpoint(checkpoint, checkpoint_dir=call.flags.text("checkpoint-dir"))
    return 0


CREATE = Command(
    create,
    "[OPTIONS] CONTAINER CHECKPOINT",
    "Create a checkpoint from a running container",
    f"{_DIR}      --leave-running           Leave the container running after checkpoint\n",
    minimum=2,
    maximum=2,
)
LS = Command(ls, "[OPTIONS] CONTAINER", "List checkpoints for a container", _DIR, minimum=1, maximum=1)
RM = Command(rm, "[OPTIONS] CONTAINER CHECKPOINT", "Remove a checkpoint", _DIR, minimum=2, maximum=2)
