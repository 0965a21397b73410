"""The labels by which Compose knows what is its own: Docker Compose's names, so that its tools recognise our containers."""

from __future__ import annotations

_PREFIX = "com.docker.compose."
PROJECT = _PREFIX + "project"
SERVICE = _PREFIX + "service"
VERSION = _PREFIX + "version"
NETWORK = _PREFIX + "network"
VOLUME = _PREFIX + "volume"
NUMBER = _PREFIX + "container-number"
ONEOFF = _PREFIX + "oneoff"
SLUG = _PREFIX + "slug"
CONFIG_HASH = _PREFIX + "config-hash"
IMAGE = _PREFIX + "image"
DEPENDS_ON = _PREFIX + "depends_on"
WORKING_DIR = _PREFIX + "project.working_dir"
CONFIG_FILES = _PREFIX + "project.config_files"
