"""Containers, images, networks and volumes: what the words mean. `Engine` is the door."""

from __future__ import annotations

from inception.engine.engine import Engine

__all__ = ["Engine"]
