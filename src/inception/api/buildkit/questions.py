"""What a client asks of a Dockerfile without building it: `build --check`, `build --call targets`, `build --call outline`.

An answer is `result.json` (buildx writes tables of its own from it), `result.txt` for others, and the version of its form.
Source: BuildKit's frontend/subrequests.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from inception.api.buildkit.remote import RemoteCaller
from inception.build.calls import ANSWERS as OF_A_FILE
from inception.build.calls import Answer
from inception.build.progress import Reporter

if TYPE_CHECKING:
    from inception.api.buildkit.options import Request
    from inception.api.buildkit.session import Client
    from inception.store import Store


def answer(store: Store, asked: Request, client: Client) -> dict[str, bytes]:
    """The metadata of the result. Raises what reading a Dockerfile raises."""
    if asked.subrequest == _DESCRIBE:
        return _encoded(_described())
    caller = RemoteCaller(asked, client, lambda cancel: None)
    with store.lease(), store.scratch() as scratch:
        context = caller.open_context(store, scratch, Reporter(None))
        try:
            return _encoded(ANSWERS[asked.subrequest](store.images, context, asked.config))
        finally:
            context.close()


def _encoded(found: Answer) -> dict[str, bytes]:
    result = {"result.json": json.dumps(found.document).encode(), "result.txt": found.text.encode()}
    if found.failed is not None:
        result["result.statuscode"] = b"1" if found.failed else b"0"
    return {**result, "version": found.version.encode()}


def _described() -> Answer:
    files = [{"name": "result.json"}, {"name": "result.txt"}]
    found = [
        {"name": name, "version": version, "type": "rpc", "description": words, "metadata": files}
        for name, version, words in _KNOWN
    ]
    return Answer(document=found, text="".join(f"{each['name']}\t{each['description']}\n" for each in found), version="1.0.0")


_DESCRIBE = "frontend.subrequests.describe"
_KNOWN = (
    ("frontend.outline", "1.0.0", "List all parameters current build target supports"),
    ("frontend.targets", "1.0.0", "List all targets current build supports"),
    ("frontend.lint", "1.2.0", "Lint a Dockerfile"),
    (_DESCRIBE, "1.0.0", "List available subrequest types"),
)
ANSWERS = {f"frontend.{name}": found for name, found in OF_A_FILE.items()}
NAMES = (*ANSWERS, _DESCRIBE)
