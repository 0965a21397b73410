"""The flags of `run` and `create`: one page, and what each flag of Docker's that is not on it would need."""

from __future__ import annotations

OPTIONS = """\
      --add-host list                   Add a name to /etc/hosts (host:ip)
      --annotation map                  Annotations of the container, for its runtime
  -a, --attach list                     Attach to STDIN, STDOUT or STDERR
      --blkio-weight uint               Relative weight of block IO, 10 to 1000 (0 turns it off)
      --blkio-weight-device list        Relative weight of a block device (device:weight)
      --cap-add list                    Add Linux capabilities
      --cap-drop list                   Drop Linux capabilities
      --cgroup-parent string            Parent cgroup of the container
      --cgroupns string                 Cgroup namespace: "host" or "private"
      --cidfile string                  Write the container's ID to a file
      --cpu-period int                  Length of a CFS period in microseconds
      --cpu-quota int                   CPU time in each CFS period in microseconds
  -c, --cpu-shares int                  Relative weight of CPU time
      --cpus decimal                    Number of CPUs
      --cpuset-cpus string              CPUs that may be used (0-3, 0,1)
      --cpuset-mems string              Memory nodes that may be used (0-3, 0,1)
      --device list                     Add a host device (host[:container[:rwm]], or vendor.com/class=name of CDI's)
      --device-cgroup-rule list         Add a rule to the list of allowed devices ("c 10:200 rwm")
      --device-read-bps list            Bytes a second that are read from a block device (device:rate)
      --device-read-iops list           Reads a second from a block device (device:rate)
      --device-write-bps list           Bytes a second that are written to a block device (device:rate)
      --device-write-iops list          Writes a second to a block device (device:rate)
      --dns list                        DNS servers
      --dns-option list                 DNS options
      --dns-search list                 DNS search domains
      --domainname string               NIS domain name
      --entrypoint string               Replace the image's ENTRYPOINT
  -e, --env list                        Environment variables (KEY=VALUE, or KEY to take it from here)
      --env-file list                   Files of environment variables
      --expose list                     Expose a port or a range of ports
      --gpus list                       GPUs of the container ("all", a count, "device=ID"), by their CDI specification
      --group-add list                  Further groups of the process
      --health-cmd string               Command that checks the container's health
      --health-interval duration        Time between two checks (ms|s|m|h) (default 0s)
      --health-retries int              Failures in a row that mean unhealthy
      --health-start-interval duration  Time between two checks in the start period (ms|s|m|h) (default 0s)
      --health-start-period duration    Time to start in which failures don't count (ms|s|m|h) (default 0s)
      --health-timeout duration         Time that one check may take (ms|s|m|h) (default 0s)
      --help                            Print usage
  -h, --hostname string                 Host name of the container
      --init                            Run an init inside that forwards signals and reaps processes
  -i, --interactive                     Keep STDIN open even if not attached
      --ip ip                           IPv4 address (e.g., 172.30.100.104)
      --ip6 ip                          IPv6 address (e.g., 2001:db8::33)
      --ipc string                      IPC namespace: "private", "shareable", "none", "host", "container:NAME"
  -l, --label list                      Labels of the container
      --label-file list                 Files of labels, one a line
      --link list                       Another container under a name that only this one knows (CONTAINER:NAME)
      --link-local-ip list              Link-local IPv4 or IPv6 addresses of the container
      --log-driver string               Where the output is kept: "json-file" or "none"
      --log-opt list                    Options of the log driver (max-size=10m)
      --mac-address string              MAC address (e.g., 92:d0:c6:0a:29:33)
  -m, --memory bytes                    Memory limit
      --memory-reservation bytes        Memory soft limit
      --memory-swap bytes               Memory plus swap; -1 for unlimited swap
      --memory-swappiness int           Swappiness of the container's memory, 0 to 100 (default -1)
      --mount mount                     Attach a filesystem (type=bind,source=/a,target=/b,...)
      --name string                     Name of the container
      --network network                 Connect to a network (NAME, host, none, container:NAME, name=NAME,alias=...)
      --network-alias list              Further names in the network
      --no-healthcheck                  Turn the image's HEALTHCHECK off
      --oom-kill-disable                Don't kill processes when memory runs out
      --oom-score-adj int               Preference of the host's OOM killer (-1000 to 1000)
      --pid string                      PID namespace: "host" or "container:NAME"
      --pids-limit int                  Limit of processes (-1 for unlimited)
      --platform string                 Platform of the image (os/arch)
      --privileged                      Give the container all privileges
  -p, --publish list                    Publish ports to the host ([ip:][host-port:]port[/proto])
  -P, --publish-all                     Publish all exposed ports to random ports
      --pull string                     When to pull the image ("always", "missing", "never") (default "missing")
  -q, --quiet                           Don't show the pull's progress
      --read-only                       Mount the root filesystem read only
      --restart string                  When to start again ("no", "on-failure[:N]", "always", "unless-stopped")
                                        (default "no")
      --rm                              Remove the container and its anonymous volumes when it exits
      --runtime string                  OCI runtime of the container
      --security-opt list               Security options
      --shm-size bytes                  Size of /dev/shm
      --stop-signal string              Signal that stops the container
      --stop-timeout int                Seconds to stop in before it is killed
      --sysctl map                      Kernel settings of the container's namespaces
      --tmpfs list                      Mount a tmpfs (path[:options])
  -t, --tty                             Allocate a terminal
      --ulimit ulimit                   Limits of a process (nofile=1024:2048)
  -u, --user string                     User and group (<name|uid>[:<group|gid>])
      --userns string                   User namespace: "host"
      --uts string                      UTS namespace: "host"
  -v, --volume list                     Mount a folder or a volume ([source:]target[:options])
      --volume-driver string            Driver of volumes that are created
      --volumes-from list               Mount the volumes of other containers
  -w, --workdir string                  Working directory inside the container
"""

RUN_ONLY = """\
  -d, --detach                          Run in the background and print the container's ID
      --detach-keys string              Keys that detach from the container (default "ctrl-p,ctrl-q")
      --explain                         Print the plan: every system call that would start it; start nothing
      --sig-proxy                       Send signals on to the container (default true)
"""

RENAMED = {"net": "network", "net-alias": "network-alias", "dns-opt": "dns-option"}

_WINDOWS = "it is for Windows only"
_REALTIME = "real-time scheduling of groups needs a kernel with CONFIG_RT_GROUP_SCHED, which distributions don't have"

REFUSED = {
    "cpu-count": _WINDOWS,
    "cpu-percent": _WINDOWS,
    "cpu-rt-period": _REALTIME,
    "cpu-rt-runtime": _REALTIME,
    "io-maxbandwidth": _WINDOWS,
    "io-maxiops": _WINDOWS,
    "isolation": _WINDOWS,
    "kernel-memory": "the kernel has no such limit any more",
    "storage-opt": "a size limit needs a quota of the filesystem, which overlay snapshots don't set",
    "use-api-socket": "there is no daemon, so there is no socket to hand over",
}


def merged(*pages: str) -> str:
    """Options pages as one, sorted by long name as Docker's are. A continuation line stays below its flag."""
    entries: list[str] = []
    for line in "".join(pages).splitlines(keepends=True):
        if line.lstrip().startswith("-") or not entries:
            entries.append(line)
        else:
            entries[-1] += line
    return "".join(sorted(entries, key=lambda entry: entry.partition("--")[2]))
