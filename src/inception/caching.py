"""`lru_cache` as functools has it, without functools: the module around that C function brings `collections`: 3 ms."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import lru_cache as lru_cache
else:
    from _functools import _lru_cache_wrapper

    def lru_cache(maxsize):
        """A decorator: remembers what the function answered for the last *maxsize* arguments."""
        return lambda function: _lru_cache_wrapper(function, maxsize, False, tuple)
