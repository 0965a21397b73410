"""The `inception` command: global flags, then one verb, which alone is imported.

Exit codes are Docker's: the container's own for `run`, `exec` and `start -a`; 125 when a flag can't be read or `run` itself
fails; 126 and 127 when the command can't be executed or is not there; 130 after Ctrl-C; 1 for everything else.
"""

from __future__ import annotations

import gc
import os
import sys

from inception.cli.commands import resolve
from inception.errors import InceptionError, NotModified, StartFailed
from inception.preload import preload

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from inception.cli.call import Call, Settings
    from inception.cli.flags import Command

PROGRAM = "inception"
_INTERRUPTED = 130
_BAD_FLAG = 125
_BROKEN_PIPE = 141


def main(argv: list[str] | None = None) -> int:
    """Run one command line; answers the exit code."""
    # A name from argv may hold any bytes; it must reach the terminal as it came, never as a traceback.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="surrogateescape")
    debug = False
    try:
        try:
            settings, rest = _globals(list(sys.argv[1:] if argv is None else argv))
        except InceptionError as error:
            return _report(error, debug, _BAD_FLAG)
        if settings is None:
            code = _page(rest)
        else:
            debug = settings.debug
            code = _dispatch(settings, rest)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        _silence()
        return _BROKEN_PIPE
    except InceptionError as error:
        return _report(error, debug, 1)
    except OSError as error:
        return _report(error, debug, 1)
    except Exception as error:  # the last line of defence: nobody is shown a traceback
        return _report_bug(error, debug, 1)


def entry() -> NoReturn:
    """The installed command: `main`, then out of the process at once.

    Taking the interpreter down object by object costs 7 to 10 ms here, a tenth of `inception run`, and changes nothing: files
    are written, the database is in WAL mode, and whatever lives on is another process.
    """
    # The thousands of objects that imports make all stay; to look for garbage among them 50 times costs 3 ms of `exec`.
    gc.set_threshold(50_000, 20, 20)
    code = main()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):
        pass  # nobody reads any more
    os._exit(code)


def _globals(argv: list[str]) -> tuple[Settings | None, list[str]]:
    """The global flags and what follows them; None with a page's name when a page was asked for."""
    from inception.cli.call import Settings

    settings = Settings()
    while argv and argv[0].startswith("-"):
        word = argv.pop(0)
        name, equals, value = word.partition("=")
        name = _SHORT.get(name, name)
        if name in _GLOBALS:
            if not equals and not argv:
                raise _bad_global(f"flag needs an argument: {name}")
            value = value if equals else argv.pop(0)
            setattr(settings, name[2:].replace("-", "_"), value)
        elif name in ("--config", "--log-level"):
            if not equals and not argv:
                raise _bad_global(f"flag needs an argument: {name}")
            _set_global(settings, name, value if equals else argv.pop(0))
        elif name in ("--tlscacert", "--tlscert", "--tlskey"):
            if not equals and not argv:
                raise _bad_global(f"flag needs an argument: {name}")
            settings.tls[name[2:]] = value if equals else argv.pop(0)
        elif word in ("--tls", "--tlsverify"):
            settings.tls[word[2:]] = "1"
        elif word in ("--debug", "-D"):
            settings.debug = True
        elif word in ("--version", "-v"):
            return None, ["version"]
        elif word in ("--help", "-h"):
            return None, ["help", *argv]
        elif word.startswith("--"):
            raise _bad_global(f"unknown flag: {name}")
        else:
            raise _bad_global(f"unknown shorthand flag: '{word[1:2]}' in {word}")
    return settings, argv


_GLOBALS = ("--root", "--run-root", "--host", "--context")
_SHORT = {"-H": "--host", "-c": "--context", "-l": "--log-level"}
_LEVELS = ("debug", "info", "warn", "error", "fatal")


def _set_global(settings: Settings, name: str, value: str) -> None:
    if name == "--config":  # log-ins and contexts; whoever looks for them asks the environment
        os.environ["DOCKER_CONFIG"] = value
    elif value not in _LEVELS:
        raise _bad_global(f"unable to parse logging level: {value}")
    else:
        settings.debug = settings.debug or value == "debug"


def _bad_global(message: str) -> InceptionError:
    from inception.errors import InvalidArgument

    return InvalidArgument(message, f"see '{PROGRAM} --help'")


def _page(words: list[str]) -> int:
    if words[0] == "version":
        from inception import __version__

        print(f"Inception version {__version__}")
        return 0
    from inception.cli import pages

    page = pages.top() if len(words) == 1 else pages.of(words[1:])
    if not page:
        print(f"{PROGRAM}: unknown help topic: {' '.join(words[1:])}", file=sys.stderr)
        return 1
    print(page, end="")
    return 0


def _dispatch(settings: Settings, words: list[str]) -> int:
    if words[:1] == ["help"]:
        return _page(words)
    name, count = resolve(words)
    if not name:
        from inception.cli import pages

        return pages.without_command(words)
    command = load(name)
    return run_command(command, " ".join([PROGRAM, *words[:count]]), name, settings, words[count:])


def load(name: str) -> Command:
    """The command called *name* in the table, from its module."""
    from inception.cli.commands import COMMANDS

    module, _, attribute = COMMANDS[name][0].partition(":")
    preload(f"inception.cli.{module}")
    return getattr(__import__(f"inception.cli.{module}", fromlist=[attribute]), attribute)  # type: ignore[no-any-return]


def run_command(command: Command, path: str, name: str, settings: Settings, argv: list[str]) -> int:
    """Parse *argv* for *command* and run it, reporting what goes wrong. Groups with a parser of their own call it too."""
    from inception.cli.call import Call
    from inception.cli.flags import HelpAsked, UsageError, parse

    try:
        flags, arguments = parse(command, path, argv)
        return _run(command, Call(path, settings, flags, arguments))
    except HelpAsked:
        from inception.cli import pages

        print(pages.command(command, path, name), end="")
        return 0
    except UsageError as error:
        print(error, file=sys.stderr)
        if error.page:
            print(error.page, file=sys.stderr)
        return error.exit_code


def _run(command: Command, call: Call) -> int:
    from inception.cli.flags import UsageError

    debug = call.settings.debug
    try:
        return command.run(call)
    except StartFailed as error:
        code = _report(error, debug, _start_exit_code(command, error))
    except NotModified:
        return 0
    except InceptionError as error:
        code = _report(error, debug, command.error_exit_code)
    except BrokenPipeError:
        raise
    except OSError as error:
        code = _report(error, debug, command.error_exit_code)
    except UsageError:
        raise
    except Exception as error:
        return _report_bug(error, debug, command.error_exit_code)
    if command.error_exit_code != 1:
        from inception.cli.flags import more

        print(more(call.path), file=sys.stderr)
    return code


def _start_exit_code(command: Command, error: StartFailed) -> int:
    """126 and 127 speak of the container's program; any other failure is the verb's own (125 of `run`, not a signal's 128)."""
    if not command.start_exit_codes:
        return 1
    return command.error_exit_code if error.exit_code == 128 and command.error_exit_code != 1 else error.exit_code


def _report(error: Exception, debug: bool, code: int) -> int:
    from inception.cli.call import complain

    complain(_in_words(error) if isinstance(error, OSError) else error)
    if debug:
        _causes(error)
    return code


def _in_words(error: OSError) -> Exception:
    """An OSError without Python's brackets: `open env.list: no such file or directory`, as Go says it."""
    if error.filename is None or error.strerror is None:
        return InceptionError(str(error).removeprefix(f"[Errno {error.errno}] "))
    name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(error.filename)
    return InceptionError(f"open {name}: {error.strerror.lower()}")


def _report_bug(error: Exception, debug: bool, code: int) -> int:
    print(f"{PROGRAM}: internal error: {type(error).__name__}: {error}", file=sys.stderr)
    print("hint: this is a bug of ours; run it again with `inception --debug` and report what it prints", file=sys.stderr)
    if debug:
        _causes(error)
    return code


def _causes(error: BaseException | None) -> None:
    """The chain of causes, a line each with the place where it was raised."""
    while error is not None:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = f" ({trace.tb_frame.f_code.co_filename}:{trace.tb_lineno})" if trace is not None else ""
        print(f"debug: {type(error).__name__}: {error}{place}", file=sys.stderr)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _silence() -> None:
    """Whoever read our output went away: nothing more to say, and nothing for the interpreter to flush at its end."""
    null = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(null, 1)
    os.close(null)
