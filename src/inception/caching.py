"""`lru_cache` and `cached_property` as functools has them, without functools: the module around that C function brings
`collections`: 3 ms."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from functools import cached_property as cached_property
    from functools import lru_cache as lru_cache
else:
    from _functools import _lru_cache_wrapper

    def lru_cache(maxsize):
        """A decorator: remembers what the function answered for the last *maxsize* arguments."""
        return lambda function: _lru_cache_wrapper(function, maxsize, False, tuple)

    class cached_property:
        """An attribute that its method makes when it is first asked for."""

        def __init__(self, make):
            self.make = make
            self.name = make.__name__
            self.__doc__ = make.__doc__

        def __get__(self, owner, _kind=None):
            if owner is None:
                return self
            return owner.__dict__.setdefault(self.name, self.make(owner))
