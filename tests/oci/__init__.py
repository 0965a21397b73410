"""The runtime specification as cases; see cases.py."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.cases")
