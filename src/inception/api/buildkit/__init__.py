"""BuildKit's protocol: buildx and Compose build with our builder as they do with BuildKit.

    client                                        server
    POST /grpc, Upgrade: h2c          ───▶        the client calls Control and LLBBridge
    POST /session, Upgrade: h2c       ───▶        the server calls back: files, secrets, ssh-agents, log-ins, outputs
    Control.Status                    ◀───        vertexes, their logs and states
    Control.Solve                     ◀───        ends with the build

Both connections speak gRPC over HTTP/2; on the second one the client is the server. A build has two ways in: Control.Solve
that names the Dockerfile frontend, and (what buildx and Compose do) a Control.Solve that names none and waits, while the client
itself plays the frontend, asks LLBBridge.Solve for the Dockerfile frontend's answer, and hands that to LLBBridge.Return.

doors.py     POST /session and /grpc             control.py, gateway.py   what a client may call
session.py   what the server asks of a client    remote.py                a client as the builder's caller
jobs.py      one build from Solve to its end     options.py               a frontend's attributes as a BuildConfig
status.py    the builder's events as vertexes    failures.py              errors with their lines of the Dockerfile
post.py      a build by POST /build              questions.py             of a Dockerfile, without building it

The wire itself, which the client of another engine speaks too, is in `inception/buildkit`.
Nothing here is imported before a client comes with BuildKit's protocol.
"""

from __future__ import annotations
