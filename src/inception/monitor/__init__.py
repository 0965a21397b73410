"""The process beside a container: parent of its init, owner of its stdio, log, exit code, restarts, health and names.

    engine                            monitor (vfork child, C)          init
    monitor.json, plan, health-plan
    handover.listen, dns_sockets
    launch(plan, fds, monitor_fds) ─▶ setsid, clone3 ─────────────────▶ walks the plan
    (client.attach: the backlog       waits for execve of init          execve; stdio is pipes or a pty
     keeps the connection)            execve python, fds keep numbers
    pid, pidfd ◀────────────────────  monitor.py: waiting clients are
                                      heard first, then output is read
    status.json "running" ◀─────────  epoll: stdio, pidfd, attach.sock, DNS, published ports, timers
    client.stop_requested ──────────▶ no restart from here on
    kill ─────────────────────────────────────────────────────────────▶ exits
                                      waitid, drain stdio, log
    status.json "exited" ◀──────────  exit frame to every client
                                      release, unless a client took it over: execve python inception.engine.release

Which descriptors a monitor inherits, by name (`handover.command` writes their numbers into its arguments):

    init              pidfd of the container's first process; absent in a thread, which spawns it itself
    lock              flocked `monitor.lock`: locked means a monitor is there
    listen            `attach.sock`, listening (`protocol.py` says what is spoken)
    stdin             write end of the container's stdin, with open_stdin
    stdout, stderr    read ends, without a terminal
    console           with a terminal: socket on which every start sends the pty's master
    dns-udp, dns-tcp  bound to 127.0.0.11:53 in the container's network namespace
    port0, port1, ... listening sockets, in the order of `config.ports`
    plan.NAME         the plan's own slot NAME, kept for restarts
    errors            what becomes the monitor's stderr

`monitor.py` is the conductor; one file a job beside it: `output.py` and `jsonlog.py` (stdio to log), `server.py` (attach),
`restart.py`, `health.py`, `dns.py`, `proxy.py`; for those outside: `handover.py` (start one), `client.py` (talk to one),
`logs.py` (read what it wrote), `status.py` (its word on the state). Rarely used ones are imported when needed: a monitor
lives as long as its container, so each megabyte counts once a container.
"""
