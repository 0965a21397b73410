"""The tree of pid namespaces as one self-contained SVG: boxes in boxes, a row a process, a column a level.

Layout is two passes: `_measure` gives each box its size from its rows and its children (which stand side by side and wrap),
`_draw` places them. Colours come from a style sheet inside the picture that knows dark pages too.
"""

from __future__ import annotations

from inception.cli.ns import command_of, shown_processes, title

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.linux.nstree import NamespacedProcess, PidNamespace

_PAD = 16.0
_GAP = 14.0
_HEAD = 44.0
_ROW = 24.0
_PID = 66.0
_CHAR = 7.9
_WRAP = 1120.0
_MIN_WIDTH = 250.0
_LEVELS = 6

_STYLE = """\
  .page { fill: #fbfbfd } .box { stroke-width: 1.5 }
  text { font: 13px ui-monospace, "DejaVu Sans Mono", monospace; fill: #1d1d1f }
  .title { font: 600 15px ui-sans-serif, system-ui, "DejaVu Sans", sans-serif } .id { font-size: 11px; fill: #6e6e73 }
  .chip { rx: 6 } .pid { text-anchor: middle; fill: #fff; font-weight: 600 } .arrow { text-anchor: middle; fill: #86868b }
  .l0 { fill: #f2f2f7; stroke: #c7c7cc } .c0 { fill: #8e8e93 }
  .l1 { fill: #eaf4ff; stroke: #8ec5ff } .c1 { fill: #0a6cd6 }
  .l2 { fill: #fff4e5; stroke: #ffc27a } .c2 { fill: #c26a00 }
  .l3 { fill: #f5ecff; stroke: #cda8ff } .c3 { fill: #8339d6 }
  .l4 { fill: #e9f9ee; stroke: #8fdba8 } .c4 { fill: #1e8e45 }
  .l5 { fill: #ffecec; stroke: #ffa9a9 } .c5 { fill: #c62f2f }
  @media (prefers-color-scheme: dark) {
    .page { fill: #161618 } text { fill: #f5f5f7 } .id { fill: #98989d }
    .l0 { fill: #1f1f22; stroke: #48484a } .l1 { fill: #10253a; stroke: #1f5c99 } .l2 { fill: #33230d; stroke: #8a5a17 }
    .l3 { fill: #281a3a; stroke: #6a3fa0 } .l4 { fill: #10291a; stroke: #2b7a46 } .l5 { fill: #351515; stroke: #8f3232 }
  }
"""


class _Box:
    """One namespace with its size, and its children with their places in it."""

    def __init__(self, namespace: PidNamespace, names: dict[int, str], everything: bool) -> None:
        self.namespace = namespace
        self.title = title(namespace, names)
        self.rows = shown_processes(namespace, everything=everything)
        self.children = [_Box(child, names, everything) for child in namespace.children]
        self.places: list[tuple[float, float]] = []
        self.width, self.height = self._measure()

    def _measure(self) -> tuple[float, float]:
        widest = max((_row_width(row) for row in self.rows), default=0.0)
        width = max(_MIN_WIDTH, widest, len(self.title) * 8.8) + 2 * _PAD
        height = _HEAD + len(self.rows) * _ROW + _PAD
        x, y, tallest = _PAD, height, 0.0
        for child in self.children:
            if x > _PAD and x + child.width > _WRAP:
                x, y, tallest = _PAD, y + tallest + _GAP, 0.0
            self.places.append((x, y))
            tallest = max(tallest, child.height)
            width = max(width, x + child.width + _PAD)
            x += child.width + _GAP
        return width, y + tallest + _PAD if self.children else height


def _row_width(row: NamespacedProcess) -> float:
    return len(row.pids) * _PID + len(command_of(row, 48)) * _CHAR + 12


def draw(root: PidNamespace, names: dict[int, str], *, everything: bool) -> str:
    """The picture of the tree below *root*."""
    box = _Box(root, names, everything)
    width, height = box.width + 2 * _PAD, box.height + 2 * _PAD
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}"'
        f' viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="pid namespaces">',
        f"<style>\n{_STYLE}</style>",
        f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>',
        *_draw(box, _PAD, _PAD),
        "</svg>\n",
    ]
    return "\n".join(parts)


def _draw(box: _Box, x: float, y: float) -> list[str]:
    level = box.namespace.level % _LEVELS
    parts = [
        f'<rect class="box l{level}" x="{x:.0f}" y="{y:.0f}" width="{box.width:.0f}" height="{box.height:.0f}" rx="14"/>',
        f'<text class="title" x="{x + _PAD:.0f}" y="{y + 24:.0f}">{_escape(box.title)}</text>',
        f'<text class="id" x="{x + _PAD:.0f}" y="{y + 39:.0f}">pid:[{box.namespace.id}]</text>',
    ]
    for i, row in enumerate(box.rows):
        parts += _draw_row(row, x + _PAD, y + _HEAD + 4 + i * _ROW)
    for child, (left, top) in zip(box.children, box.places, strict=True):
        parts += _draw(child, x + left, y + top)
    return parts


def _draw_row(row: NamespacedProcess, x: float, y: float) -> list[str]:
    parts = []
    for level, pid in enumerate(row.pids):
        left = x + level * _PID
        parts.append(
            f'<rect class="chip c{level % _LEVELS}" x="{left:.0f}" y="{y:.0f}" width="{_PID - 16:.0f}" height="19" rx="6"/>'
        )
        parts.append(f'<text class="pid" x="{left + (_PID - 16) / 2:.0f}" y="{y + 14:.0f}">{pid}</text>')
        if level:
            parts.append(f'<text class="arrow" x="{left - 8:.0f}" y="{y + 14:.0f}">→</text>')
    parts.append(f'<text x="{x + len(row.pids) * _PID:.0f}" y="{y + 14:.0f}">{_escape(command_of(row, 48))}</text>')
    return parts


def _escape(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # bytes that are no UTF-8 have no place in XML
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
