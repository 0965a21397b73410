"""`python -m inception.cli`: the command without its launcher."""

from __future__ import annotations

import sys

from inception.cli.main import main

sys.exit(main())
