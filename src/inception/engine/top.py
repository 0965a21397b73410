"""The processes in a container, seen from the host as Docker's `top` does.

Without options the columns are those of `ps -ef`, read from /proc. Options are the host's own `ps`, found in fixed places,
whose rows are kept when their PID is in the container's cgroup. Nothing is executed inside the container.
"""

from __future__ import annotations

import os
import time

from inception.engine import records
from inception.engine.cgroups import cgroup_of
from inception.engine.live import not_running
from inception.engine.results import TopResult
from inception.errors import InvalidArgument, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.engine.engine import Engine

_TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
_PS = ("/usr/bin/ps", "/bin/ps")


def top(engine: Engine, container_id: str, ps_args: str) -> TopResult:
    """Raises Conflict when it does not run, InvalidArgument for options that `ps` refuses."""
    record = records.load(engine, container_id)
    if record.state.status not in ("running", "paused"):
        raise not_running(record)
    pids = cgroup_of(engine, record).pids()
    if ps_args.strip() in ("", "-ef"):
        rows = [row for row in map(_row, pids) if row is not None]
        return TopResult(titles=_TITLES, processes=rows)
    return _ask_ps(ps_args.split(), set(pids))


def _row(pid: int) -> list[str] | None:
    """One process as `ps -ef` shows it; None when it has ended. Source: proc_pid_stat(5)."""
    try:
        with open(f"/proc/{pid}/stat", errors="replace") as file:
            text = file.read()
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        uid = os.stat(f"/proc/{pid}").st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name stands in parentheses and may hold any byte, also parentheses.
    name = text[text.index("(") + 1 : text.rindex(")")]
    fields = text[text.rindex(")") + 2 :].split()
    parent, terminal = int(fields[1]), int(fields[4])
    ticks = os.sysconf("SC_CLK_TCK")
    used_s = (int(fields[11]) + int(fields[12])) / ticks
    age_s = max(time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / ticks, 0.01)
    return [
        _user(uid),
        str(pid),
        str(parent),
        str(min(int(100 * used_s / age_s), 99)),
        _start(time.time() - age_s),
        _terminal(terminal),
        f"{int(used_s) // 3600:02}:{int(used_s) // 60 % 60:02}:{int(used_s) % 60:02}",
        command or f"[{name}]",
    ]


def _user(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _start(when_s: float) -> str:
    """As ps has it: the time for today, the date before."""
    then, today = time.localtime(when_s), time.localtime()
    return time.strftime("%H:%M" if then[:3] == today[:3] else "%b%d", then)


def _terminal(device: int) -> str:
    major, minor = os.major(device), os.minor(device)
    if 136 <= major <= 143:  # UNIX98 pty slaves (admin-guide/devices.txt)
        return f"pts/{(major - 136) * 256 + minor}"
    return "?"


def _ask_ps(options: list[str], pids: set[int]) -> TopResult:
    import subprocess  # only here: `top` with options of ps's own

    program = next((path for path in _PS if os.path.exists(path)), None)
    if program is None:
        raise Unavailable("top: ps options need the host's ps, which is not installed", "install the package procps")
    done = subprocess.run([program, *options], capture_output=True, text=True, errors="replace", check=False, timeout=30)
    if done.returncode != 0:
        cause = done.stderr.strip().splitlines()
        raise InvalidArgument(f"top: ps {' '.join(options)}: {cause[0] if cause else f'exit code {done.returncode}'}")
    lines = done.stdout.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        raise InvalidArgument("Couldn't find PID field in ps output", "use ps options that show the PID")
    column = titles.index("PID")
    rows = []
    for line in lines[1:]:
        # The last column holds spaces of its own.
        words = line.split(None, len(titles) - 1)
        if len(words) > column and words[column].isdigit() and int(words[column]) in pids:
            rows.append(words)
    return TopResult(titles=titles, processes=rows)
