"""What a build does, decided: one value a step, everything expanded, nothing left to look up but files.

`Configure` changes the image's configuration only, the others its files. `definition` is what the layer of a step depends on
besides the files beneath it and the files it copies: the cache key is made from it, so whatever changes the outcome must be in
it, and what doesn't (line numbers, labels, proxies) must not.
"""

from __future__ import annotations

from inception.build.mounts import RunMount
from inception.record import Record


def holds_layers(origin: str) -> bool:
    """Whether *origin* is known by its layers; else it is a context, whose files are known by themselves."""
    return origin.startswith(("stage:", "image:"))


def hide_password(text: str) -> str:
    """*text* without what stands before the `@` of its URLs: it is shown, logged, and kept in histories.

    >>> hide_password("ADD https://me:secret@host/x /y")
    'ADD https://xxxxx@host/x /y'
    """
    import re  # for ADD alone; the cached path of a build does without

    return re.sub(r"(?<=://)[^/@\s\"',]+@", "xxxxx@", text)


class Operation(Record):
    """`instruction` is the keyword, `title` the instruction as written, `created_by` its line in the image's history."""

    instruction: str
    title: str
    created_by: str
    first_line: int
    last_line: int

    def definition(self) -> list[object]:
        """JSON values that tell this step from every other."""
        raise TypeError(f"{self.instruction} changes no files")

    def describe(self) -> str:
        """One line for people and for tests."""
        return self.created_by


class Configure(Operation):
    """ENV, CMD, LABEL, ...: an entry in the history, no files."""


class Run(Operation):
    """`args` run with `env`; `uncached_env` (proxies) is in neither the key nor the history.

    `script` is a here-document with a `#!` line, as (name, text): it is run as a file. `devices` are names of CDI's; with
    `insecure` it runs as a privileged container does.
    """

    args: list[str]
    env: list[str] = []
    uncached_env: list[str] = []
    user: str = ""
    working_dir: str = "/"
    network: str = "default"
    script: tuple[str, str] | None = None
    mounts: list[RunMount] = []
    devices: list[str] = []
    insecure: bool = False

    def definition(self) -> list[object]:
        common: list[object] = ["run", self.args, self.env, self.user, self.working_dir, self.network, list(self.script or ())]
        common += [[mount.definition() for mount in self.mounts]] if self.mounts else []
        common += [["devices", *self.devices]] if self.devices else []
        return [*common, "insecure"] if self.insecure else common

    def describe(self) -> str:
        parts = ["run", *map(repr, self.args), f"cwd={self.working_dir}"]
        parts += [f"user={self.user}"] if self.user else []
        parts += [f"network={self.network}"] if self.network != "default" else []
        parts += [f"script={self.script[0]}"] if self.script else []
        parts += [mount.describe() for mount in self.mounts]
        parts += [f"device={name}" for name in self.devices]
        parts += ["security=insecure"] if self.insecure else []
        return " ".join([*parts, f"env={','.join(self.env)}"])


class Copy(Operation):
    """COPY and ADD. `destination` is absolute; a `/` at its end says that it is a folder.

    `origin` is where `sources` are: empty for the context, `stage:N`, `image:REFERENCE` or `context:NAME`. `files` are
    here-documents as (name, text), `urls` what ADD downloads, `repositories` what it checks out. `unpack` None is ADD's
    rule: local archives are unpacked, downloads are not; COPY has False.
    """

    sources: list[str] = []
    destination: str
    origin: str = ""
    files: list[tuple[str, str]] = []
    urls: list[str] = []
    repositories: list[str] = []
    keep_git_dir: bool = False
    chown: str = ""
    chmod: str = ""
    exclude: list[str] = []
    parents: bool = False
    unpack: bool | None = False
    checksum: str = ""

    def definition(self) -> list[object]:
        # Where the sources come from is not part of it: their content is, and it joins the key when it is known.
        return [
            "copy",
            self.destination,
            [list(file) for file in self.files],
            [self.chown, self.chmod, self.parents, self.unpack],
        ]

    def describe(self) -> str:
        parts = [f"from={self.origin or 'context'}"] if self.sources else []
        parts += [f"{name}={value}" for name, value in (("chown", self.chown), ("chmod", self.chmod)) if value]
        parts += [f"exclude={text}" for text in self.exclude]
        parts += ["parents"] if self.parents else []
        parts += ["unpack"] if self.unpack else []
        parts += [f"checksum={self.checksum}"] if self.checksum else []
        parts += ["keep-git-dir"] if self.keep_git_dir else []
        parts += [hide_password(repr(source)) for source in (*self.sources, *self.urls, *self.repositories)]
        parts += [f"<<{name}" for name, _ in self.files]
        return " ".join([self.instruction.lower(), *parts, "->", self.destination])


class MakeFolder(Operation):
    """WORKDIR: the folder is made when it is not there, with its parents, and then belongs to *user*."""

    path: str
    user: str = ""

    def definition(self) -> list[object]:
        return ["folder", self.path, *([self.user] if self.user else [])]

    def describe(self) -> str:
        return f"folder {self.path}" + (f" user={self.user}" if self.user else "")
