"""The engine's interface over HTTP, for an engine elsewhere: ours behind `inception serve`, or Docker's.

address.py     -H, DOCKER_HOST, contexts: where it is          transport.py   sockets, TLS, ssh; requests, streams, errors
engine.py      `RemoteEngine`: the same attributes as `Engine`  containers.py  containers and their verbs
images.py      images; networks.py, system.py: the rest         streams.py     attach and exec over a taken connection
bodies.py      our configuration as Docker's JSON               records.py     Docker's JSON as our records
build.py       a folder of this machine, built over there

What needs this machine's kernel or store (`--explain`, `verify`, `bootstrap`, artifacts) says so by name.
"""

from __future__ import annotations
