"""The table of verbs: where each lives and what it is, so that only the one asked for is imported.

A target is `module:NAME` below `inception.cli`; the object is a `flags.Command`. Names with a blank live in a group.
"""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "artifact ls": ("artifact:LS", "List what refers to an image on its registry"),
    "artifact pull": ("artifact:PULL", "Download the files of an artifact"),
    "artifact push": ("artifact:PUSH", "Upload files as an artifact"),
    "builder build": ("build:BUILD", "Build an image from a Dockerfile"),
    "builder prune": ("builder:PRUNE", "Remove build cache"),
    "checkpoint create": ("checkpoint:CREATE", "Create a checkpoint from a running container"),
    "checkpoint ls": ("checkpoint:LS", "List checkpoints for a container"),
    "checkpoint rm": ("checkpoint:RM", "Remove a checkpoint"),
    "completion": ("completion:COMPLETION", "Print a completion script for bash, zsh or fish"),
    "compose": ("compose:COMPOSE", "Define and run multi-container applications"),
    "container attach": ("attach:ATTACH", "Attach local standard input, output, and error streams to a running container"),
    "container commit": ("files:COMMIT", "Create a new image from a container's changes"),
    "container cp": ("copy:CP", "Copy files/folders between a container and the local filesystem"),
    "container create": ("run:CREATE", "Create a new container"),
    "container diff": ("files:DIFF", "Inspect changes to files or directories on a container's filesystem"),
    "container exec": ("exec:EXEC", "Execute a command in a running container"),
    "container export": ("files:EXPORT", "Export a container's filesystem as a tar archive"),
    "container inspect": ("inspect:INSPECT_CONTAINER", "Display detailed information on one or more containers"),
    "container kill": ("lifecycle:KILL", "Kill one or more running containers"),
    "container logs": ("logs:LOGS", "Fetch the logs of a container"),
    "container ls": ("ps:PS", "List containers"),
    "container pause": ("lifecycle:PAUSE", "Pause all processes within one or more containers"),
    "container port": ("port:PORT", "List port mappings or a specific mapping for the container"),
    "container prune": ("prune:CONTAINERS", "Remove all stopped containers"),
    "container rename": ("lifecycle:RENAME", "Rename a container"),
    "container restart": ("lifecycle:RESTART", "Restart one or more containers"),
    "container rm": ("lifecycle:RM", "Remove one or more containers"),
    "container run": ("run:RUN", "Create and run a new container from an image"),
    "container start": ("lifecycle:START", "Start one or more stopped containers"),
    "container stats": ("stats:STATS", "Display a live stream of container(s) resource usage statistics"),
    "container stop": ("lifecycle:STOP", "Stop one or more running containers"),
    "container top": ("stats:TOP", "Display the running processes of a container"),
    "container unpause": ("lifecycle:UNPAUSE", "Unpause all processes within one or more containers"),
    "container update": ("update:UPDATE", "Update configuration of one or more containers"),
    "container wait": ("lifecycle:WAIT", "Block until one or more containers stop, then print their exit codes"),
    "image bootstrap": ("transfer:BOOTSTRAP", "Make a Debian or Ubuntu base image from the distribution's own packages"),
    "image build": ("build:BUILD", "Build an image from a Dockerfile"),
    "image history": ("images:HISTORY", "Show the history of an image"),
    "image import": ("transfer:IMPORT", "Import the contents from a tarball to create a filesystem image"),
    "image inspect": ("inspect:INSPECT_IMAGE", "Display detailed information on one or more images"),
    "image load": ("transfer:LOAD", "Load an image from a tar archive or STDIN"),
    "image ls": ("images:LS", "List images"),
    "image prune": ("prune:IMAGES", "Remove unused images"),
    "image pull": ("transfer:PULL", "Download an image from a registry"),
    "image push": ("transfer:PUSH", "Upload an image to a registry"),
    "image rm": ("images:RM", "Remove one or more images"),
    "image save": ("transfer:SAVE", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "image tag": ("images:TAG", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "inspect": ("inspect:INSPECT", "Return low-level information on objects"),
    "login": ("login:LOGIN", "Authenticate to a registry"),
    "logout": ("login:LOGOUT", "Log out from a registry"),
    "manifest annotate": ("manifest:ANNOTATE", "Add additional information to a local image manifest"),
    "manifest create": ("manifest:CREATE", "Create a local manifest list for annotating and pushing to a registry"),
    "manifest inspect": ("manifest:INSPECT", "Display an image manifest, or manifest list"),
    "manifest push": ("manifest:PUSH", "Push a manifest list, or images that are here, under one name"),
    "manifest rm": ("manifest:RM", "Delete one or more manifest lists from local storage"),
    "network connect": ("networks:CONNECT", "Connect a container to a network"),
    "network create": ("networks:CREATE", "Create a network"),
    "network disconnect": ("networks:DISCONNECT", "Disconnect a container from a network"),
    "network inspect": ("inspect:INSPECT_NETWORK", "Display detailed information on one or more networks"),
    "network ls": ("networks:LS", "List networks"),
    "network prune": ("prune:NETWORKS", "Remove all unused networks"),
    "network rm": ("networks:RM", "Remove one or more networks"),
    "ns": ("ns:NS", "Draw the pid namespaces of this machine with every process's pid at each level"),
    "registry ls": ("registry:LS", "List the tags of a repository on its registry"),
    "registry rm": ("registry:RM", "Delete tags, or manifests with all their tags, on their registry"),
    "resume": ("system:RESUME", "Start again what should run, after a reboot or a crash"),
    "serve": ("serve:SERVE", "Serve the Docker Engine API for docker, docker compose and Docker's libraries"),
    "system dial-stdio": ("serve:DIAL_STDIO", "Proxy standard input and output to the API's socket, for docker -H ssh://"),
    "search": ("search:SEARCH", "Search a registry for images"),
    "store verify": ("store:VERIFY", "Check, and mend, everything that the image store holds"),
    "system df": ("df:DF", "Show disk usage"),
    "system events": ("events:EVENTS", "Get real time events"),
    "system info": ("system:INFO", "Display system-wide information"),
    "system prune": ("prune:SYSTEM", "Remove unused data"),
    "unshare": ("unshare:UNSHARE", "Run a program in new namespaces"),
    "version": ("version:VERSION", "Show the version information"),
    "volume create": ("volumes:CREATE", "Create a volume"),
    "volume inspect": ("inspect:INSPECT_VOLUME", "Display detailed information on one or more volumes"),
    "volume ls": ("volumes:LS", "List volumes"),
    "volume prune": ("prune:VOLUMES", "Remove unused local volumes"),
    "volume rm": ("volumes:RM", "Remove one or more volumes"),
}

GROUPS: dict[str, str] = {
    "artifact": "Files on a registry, and what refers to an image there",
    "builder": "Manage builds",
    "checkpoint": "Manage checkpoints",
    "container": "Manage containers",
    "image": "Manage images",
    "manifest": "Manage image manifests and manifest lists",
    "network": "Manage networks",
    "registry": "What lies on a registry",
    "store": "Look after the image store",
    "system": "Manage the whole of it",
    "volume": "Manage volumes",
}

#: Docker's short forms of verbs in a group.
SHORTCUTS: dict[str, str] = {
    **{
        verb: f"container {verb}"
        for verb in [
            "attach",
            "commit",
            "cp",
            "create",
            "diff",
            "exec",
            "export",
            "kill",
            "logs",
            "pause",
            "port",
            "rename",
            "restart",
            "rm",
            "run",
            "start",
            "stats",
            "stop",
            "top",
            "unpause",
            "update",
            "wait",
        ]
    },
    **{verb: f"image {verb}" for verb in ["build", "history", "import", "load", "pull", "push", "save", "tag"]},
    "events": "system events",
    "images": "image ls",
    "info": "system info",
    "ps": "container ls",
    "rmi": "image rm",
}

#: Second names inside the groups.
ALIASES: dict[str, str] = {
    "checkpoint list": "checkpoint ls",
    "checkpoint remove": "checkpoint rm",
    "container list": "container ls",
    "container ps": "container ls",
    "container remove": "container rm",
    "image list": "image ls",
    "image remove": "image rm",
    "network list": "network ls",
    "network remove": "network rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
}

COMMON = ("run", "exec", "ps", "build", "pull", "images", "version", "info")

#: Verbs of Docker's that we know and don't have, each with the reason.
ABSENT: dict[str, str] = {
    "buildx": "BuildKit's own commands are not supported; use `inception build`",
    "config": "Swarm is not supported",
    "context": "there is no daemon to choose; use --root and --run-root",
    "node": "Swarm is not supported",
    "plugin": "plugins are not supported",
    "secret": "Swarm is not supported; Compose files have secrets",
    "service": "Swarm is not supported; use `inception compose`",
    "stack": "Swarm is not supported; use `inception compose`",
    "swarm": "Swarm is not supported",
    "trust": "image signatures are not supported",
}


def resolve(words: list[str]) -> tuple[str, int]:
    """The command that *words* begin with and how many of them name it; `("", 0)` for none."""
    for count in (2, 1):
        name = " ".join(words[:count])
        name = ALIASES.get(name, name)
        if count == 1:
            name = SHORTCUTS.get(name, name)
        if len(words) >= count and name in COMMANDS:
            return name, count
    return "", 0


def names_of(command: str) -> list[str]:
    """All names of a command, the full one first, as its help page lists them."""
    found = [command, *(alias for alias, target in ALIASES.items() if target == command)]
    return found + [short for short, target in SHORTCUTS.items() if target == command]
