"""`store verify`: whether all that the image store holds is what it should be."""

from __future__ import annotations

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import printable


def verify(call: Call) -> int:
    report = call.engine.images.verify(repair=call.flags.on("repair"))
    quiet = call.flags.on("quiet")
    for problem in report.problems:
        print(printable(f"{problem.where}: {problem.what}" + (f": {problem.mended}" if problem.mended else "")))
    left = [problem for problem in report.problems if not problem.mended]
    if not quiet:
        print(
            f"Checked {report.images} images, {report.layers} layers, {report.blobs} blobs, {report.snapshots} snapshots: "
            + (f"{len(report.problems)} problems, {len(left)} left" if report.problems else "all is well")
        )
    return 1 if left else 0


VERIFY = Command(
    verify,
    "[OPTIONS]",
    "Check, and mend, everything that the image store holds",
    """\
  -q, --quiet    Only say what is wrong
      --repair   Mend what can be mended, remove what can't
""",
    maximum=0,
)
