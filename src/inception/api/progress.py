"""Long work whose answer is a stream of JSON objects: pull, push, load, build.

As in Docker, an error that comes before there is anything to tell has its status; a later one is the stream's last object.
When the client goes away the work ends at its next word.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from inception.api.call import Call, encode_json, open_stream
from inception.api.errors import message_of
from inception.api.threads import Stop
from inception.errors import InceptionError
from inception.store.progress import Progress

Tell = Callable[[dict[str, Any]], None]
_BAR = 50


async def stream_work(
    call: Call,
    work: Callable[[Tell], object],
    *,
    is_news: Callable[[dict[str, Any]], bool] = lambda document: True,
    explain: Callable[[InceptionError], dict[str, Any]] | None = None,
    every_error_told: bool = False,
) -> web.StreamResponse:
    """Answer with what *work* tells. The head goes out with the first object that `is_news`; with *every_error_told* there is
    no other status than 200."""
    response: web.StreamResponse | None = None
    held: list[dict[str, Any]] = []
    try:
        async for document in call.server.threads.told(work, Stop()):
            held.append(document)
            if response is None and not is_news(document):
                continue
            response = response or await open_stream(call)
            await response.write(b"".join(encode_json(item).strip() + b"\r\n" for item in held))
            held.clear()
    except InceptionError as error:
        if response is None and not every_error_told:
            raise
        held.append(explain(error) if explain else error_document(message_of(error)))
    except OSError as error:
        if response is None:
            raise
        held.append(error_document(str(error)))
    response = response or await open_stream(call)
    await response.write(b"".join(encode_json(item).strip() + b"\r\n" for item in held))
    await response.write_eof()
    return response


def error_document(message: str, code: int = 0) -> dict[str, Any]:
    return {"errorDetail": {**({"code": code} if code else {}), "message": message}, "error": message}


def progress_document(progress: Progress) -> dict[str, Any]:
    """One line of a transfer."""
    document: dict[str, Any] = {"status": progress.status}
    if progress.total or progress.current:
        document["progressDetail"] = {"current": progress.current, "total": progress.total}
        document["progress"] = _bar(progress)
    elif progress.id:
        document["progressDetail"] = {}
    if progress.id:
        document["id"] = progress.id
    return document


def _bar(progress: Progress) -> str:
    if not progress.total:
        return _size(progress.current)
    done = min(_BAR, _BAR * progress.current // progress.total)
    bar = ("=" * done + ">")[:_BAR].ljust(_BAR)
    return f"[{bar}] {_size(progress.current):>8}/{_size(progress.total)}"


def _size(count: float) -> str:
    units = ["B", "kB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count /= 1000
        units.pop(0)
    return f"{count:.4g}{units[0]}"
