"""What a long operation tells its caller while it runs."""

from __future__ import annotations

from inception.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


class Progress(Record):
    """One line of news: `id` is what it is about (a layer's short digest, or empty), `status` Docker's word for it
    (`Downloading`, `Pull complete`), `current` of `total` bytes where there is something to count (0: unknown)."""

    status: str
    id: str = ""
    current: int = 0
    total: int = 0


def silent(_progress: Progress) -> None:
    """For callers that don't want to know."""


if TYPE_CHECKING:
    OnProgress = Callable[[Progress], None]


class Following:
    """A long operation as an iterator of its news, for callers that would rather loop than be called.

        work = follow(engine.images.pull, "debian:bookworm")
        for news in work:
            print(news.id, news.status, news.current, news.total)
        image = work.result()

    It runs in a thread; whoever stops looping early lets it run to its end all the same, and `result` waits for that.
    """

    def __init__(self, operation: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        from queue import SimpleQueue
        from threading import Thread  # whoever follows has the time

        self._news: SimpleQueue[Progress | None] = SimpleQueue()
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, args=(operation, args, kwargs), name="inception-work", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Progress]:
        while (news := self._news.get()) is not None:
            yield news
        self._news.put(None)  # a second loop ends at once

    def result(self) -> Any:
        """What the operation returned; raises what it raised."""
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._result

    def _run(self, operation: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            self._result = operation(*args, progress=self._news.put, **kwargs)
        except BaseException as error:
            self._error = error
        finally:
            self._news.put(None)


def follow(operation: Callable[..., Any], *args: Any, **kwargs: Any) -> Following:
    """Starts *operation*, which takes a `progress` callback (`engine.images.pull`, `push`, `load`, ...)."""
    return Following(operation, *args, **kwargs)
