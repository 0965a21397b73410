"""The Docker Engine API over HTTP: Docker's clients at the door of the same engine that the CLI and the library use.

server.py    sockets, start and graceful stop           router.py   (method, path) to handler, one table
call.py      one request as handlers see it             errors.py   error class to status, one table
threads.py   blocking engine calls in bounded threads   hub.py      the event file, read once for all who wait
hijack.py    a connection taken out of HTTP             session.py  attach and exec over it
attach.py    who attached before the start              convert.py  Docker's create body to ContainerConfig
host.py      `inception.docker_host()`

buildkit/  builds by BuildKit's protocol, for buildx and Compose

One file a resource: system, auth, containers, life (start, stop, wait), streams (logs, stats, attach), archive, exec, images,
build, networks, volumes, swarm (what a Docker without swarm says).

The server keeps no state that a container needs: kill -9 it, and containers, logs, restarts and exit codes go on; the next one
finds them. What it does keep is about its own clients: execs that they made, attachments that wait for a start.
"""

from __future__ import annotations
