"""Folders among a store's layers that are no layer of an image."""

from __future__ import annotations

EMPTY = "empty"
#: Beside it in a store that copies instead of using overlayfs (copies.py).
COPIED = "copied"
