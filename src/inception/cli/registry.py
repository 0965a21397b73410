"""`registry`: what lies on a registry: the tags of a repository, and deletions."""

from __future__ import annotations

from inception.cli.call import Call, complain
from inception.cli.flags import Command
from inception.cli.format import printable, write
from inception.errors import InceptionError


def ls(call: Call) -> int:
    write("".join(f"{printable(tag)}\n" for tag in call.engine.images.tags(call.arguments[0])))
    return 0


def rm(call: Call) -> int:
    failed = False
    for name in call.arguments:
        try:
            gone = call.engine.images.delete_remote(name, blob=call.flags.on("blob"))
        except InceptionError as error:
            complain(error)
            failed = True
        else:
            print(f"Deleted: {gone}", flush=True)
    return int(failed)


LS = Command(ls, "NAME", "List the tags of a repository on its registry", minimum=1, maximum=1)
RM = Command(
    rm,
    "[OPTIONS] NAME:TAG|NAME@DIGEST...",
    "Delete tags, or manifests with all their tags, on their registry",
    "      --blob   The digest is that of a blob\n",
    minimum=1,
)
