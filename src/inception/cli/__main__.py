"""`python -m inception.cli`: the command without its launcher."""

from __future__ import annotations

from inception.cli.main import entry

entry()
