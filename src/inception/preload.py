"""Our modules out of one file, each after those that it needs.

Python finds a module by asking folders, opens it, reads it, checks it, under a lock, and does so some 50 to 130 times for one
command of ours: half of the time that `inception exec` takes. `make setup` writes all modules of this package, compiled, into
one pack, with what each imports (`tools/launchers`). The launchers open the pack; started in any other way a process has none,
and everything here does nothing.

    pack:  "INCPACK1"  Python's magic number (4)  length of the code (4)  length of the index (4)
           this module's code, for the launchers     index     entries
    index: {module: (offset, length, names of what it imports)}

A module whose source has changed since is imported as ever: the pack can be old, never wrong.
"""

from __future__ import annotations

import _thread
import gc
import marshal
import posix
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType

    Entry = tuple[bool, str, int, int, CodeType]  # is a package, source, its mtime in ns and size, code

_HEAD = 20

_pack: Pack | None = None


class Pack:
    """An open pack: the finder and the loader of its modules."""

    def __init__(self, fd: int, part: str) -> None:
        head = posix.pread(fd, _HEAD, 0)
        skip, length = int.from_bytes(head[12:16], "little"), int.from_bytes(head[16:20], "little")
        self.index: dict[str, tuple[int, int, tuple[str, ...]]] = marshal.loads(posix.pread(fd, length, _HEAD + skip))
        self.fd = fd
        self.part = part
        self.code: dict[str, CodeType] = {}  # of modules that Python is about to execute
        self.under_way: set[str] = set()

    def load(self, name: str) -> None:
        """Import *name* without the importer: what it needs, then itself."""
        self.under_way.add(name)
        modules = sys.modules
        parent, _, tail = name.rpartition(".")
        if parent and parent not in modules:
            __import__(parent)
        self.load_needs(name)
        entry = self.read(name)
        if name in modules:
            return  # a package's __init__ needed it
        if entry is None:
            __import__(name)
            return
        spec = self.spec(name, entry)
        module = modules[name] = type(sys)(name)
        module.__dict__.update(__spec__=spec, __loader__=self, __file__=entry[1], __package__=spec.parent)
        if entry[0]:
            module.__dict__["__path__"] = spec.submodule_search_locations
        try:
            exec(entry[4], module.__dict__)
        except BaseException:
            modules.pop(name, None)
            raise
        if parent:
            setattr(modules[parent], tail, module)

    def load_needs(self, name: str) -> None:
        # Another thread could meet a module that is half there: the importer has locks against that.
        if _thread._count():
            return
        modules, index, under_way = sys.modules, self.index, self.under_way
        for need in index[name][2]:
            if need not in modules and need not in under_way:
                self.load(need)

    def read(self, name: str) -> Entry | None:
        """What the pack has of *name*; None when its source is another by now."""
        offset, length, _ = self.index[name]
        entry: Entry = marshal.loads(posix.pread(self.fd, length, offset))
        try:
            status = posix.stat(entry[1])
        except OSError:
            return None
        return entry if status.st_mtime_ns == entry[2] and status.st_size == entry[3] else None

    def spec(self, name: str, entry: Entry) -> ModuleSpec:
        spec = ModuleSpec(name, self, origin=entry[1], is_package=entry[0])  # type: ignore[arg-type]
        spec.has_location = True
        if entry[0]:
            spec.submodule_search_locations = [entry[1].rpartition("/")[0]]
        return spec

    # ---- what Python asks of a finder and a loader (importlib.abc) ---------------------------------------------------

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name not in self.index:
            return None
        if name not in self.under_way:
            self.under_way.add(name)
            self.load_needs(name)
        entry = self.read(name)
        if entry is None:
            return None
        self.code[name] = entry[4]
        return self.spec(name, entry)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code.pop(module.__name__), module.__dict__)


def preload(name: str) -> None:
    """Import the module *name* and what it needs. Only a matter of speed: it is imported as ever afterwards."""
    if _pack is not None and name in _pack.index and name not in sys.modules and not _thread._count():
        _pack.load(name)


def command_of(module: str, *, site: bool = False) -> list[str]:
    """The first words of a command that runs `main(arguments)` of *module* in a Python of its own, isolated from the user's.

    The rest of its words are the arguments; what `main` returns is its exit code. *site*: it needs other people's modules.
    """
    if _pack is not None:
        return [sys.executable, "-IS", "-Xutf8", _pack.part, module]
    part = f"{__file__.rpartition('/')[0]}/part.py"
    return [sys.executable, "-I" if site else "-IS", "-Xutf8", part, module]


def start(fd: int, part: str, name: str) -> None:
    """Called by a launcher with the open pack: from here on it serves, and the module *name* is there.

    *part* is the launcher of our own helpers, for `command_of`.
    """
    global _pack
    gc.disable()  # all that is made here stays
    _pack = Pack(fd, part)
    sys.meta_path.insert(0, _pack)
    preload(name)
    gc.enable()
