"""Git repositories as contexts and as sources of ADD: `https://host/a.git#REF:FOLDER`, `git@host:a.git`, `ssh://`, `git://`.

The address and what answers there are somebody else's. So `git` comes from a fixed place, with an environment and a
configuration of its own: no prompts, no hooks, no file or `ext::` transports (CVE-2019-13139), no filters or monitors. A ref is
never an option, and a folder is looked up beneath the root of the checkout (CVE-2026-33748). Submodules come along, as with
BuildKit, over the same transports and by the same rules.
"""

from __future__ import annotations

import os
import re
import subprocess

from inception.build.operations import hide_password
from inception.errors import InvalidArgument, NotFound, Unavailable
from inception.record import Record

_PLACES = ("/usr/bin/git", "/usr/local/bin/git", "/bin/git")
_TIMEOUT_S = 600
_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._/+@=#-]*")
_SCP = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:(?!//)[^\s]+")
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.protectHFS=true",
    "core.protectNTFS=true",
    "core.autocrlf=false",
    "protocol.allow=never",
    "protocol.https.allow=always",
    "protocol.http.allow=always",
    "protocol.ssh.allow=always",
    "protocol.git.allow=always",
    "submodule.recurse=false",
    "transfer.fsckObjects=true",
    "gc.auto=0",
    "safe.directory=*",
)


class Repository(Record):
    """`ref` empty is the default branch; `folder` is inside the checkout; `checksum` is how the commit must begin."""

    url: str
    ref: str = ""
    folder: str = ""
    checksum: str = ""
    keep_git_dir: bool = False
    submodules: bool = True


def parse_repository(text: str) -> Repository | None:
    """`URL#REF:FOLDER`, or `URL?ref=REF&subdir=FOLDER`, with more that `_read_query` knows. None when *text* is no git address.
    Raises InvalidArgument for one that is not to be used."""
    url, _, fragment = text.partition("#")
    url, _, query = url.partition("?")
    if url.startswith("github.com/"):
        url = f"https://{url}"
    elif url.startswith(("http://", "https://")):
        if not url.endswith(".git"):
            return None
    elif not (url.startswith(("git://", "ssh://")) or _SCP.fullmatch(url)):
        return None
    if any(ord(char) <= 32 for char in text):
        raise InvalidArgument(f"invalid git URL {hide_password(text)!r}: expected URL#REF:FOLDER")
    if re.match(r"[a-z]+://-", url) or "@-" in url:
        raise InvalidArgument(f"invalid git URL {hide_password(text)!r}: a host can't begin with a dash")
    ref, _, folder = fragment.partition(":")
    found = Repository(url=url, ref=ref, folder=folder)
    _read_query(found, query)
    ref, folder = found.ref, found.folder
    if ref and (not _REF.fullmatch(ref) or ".." in ref):
        raise InvalidArgument(f"invalid git ref {ref!r}")
    if ".." in folder.split("/") or ".git" in folder.split("/"):
        raise InvalidArgument(f"invalid git subdirectory {folder!r}: it leaves the tree")
    found.folder = folder.strip("/")
    return found


def _read_query(found: Repository, query: str) -> None:
    if not query:
        return
    from urllib.parse import parse_qsl

    for key, value in parse_qsl(query, keep_blank_values=True):
        if key in ("ref", "branch", "tag"):
            ref = {"ref": "", "branch": "refs/heads/", "tag": "refs/tags/"}[key] + value
            if found.ref not in ("", ref) or not value:
                raise InvalidArgument(f"invalid git URL: {key}={value} conflicts with the ref {found.ref!r}")
            found.ref = ref
        elif key == "subdir":
            if found.folder and found.folder != value:
                raise InvalidArgument(f"invalid git URL: subdir={value} conflicts with the folder {found.folder!r}")
            found.folder = value
        elif key in ("checksum", "commit"):
            if found.checksum or not is_commit(value):
                raise InvalidArgument(f'invalid git URL: invalid checksum "{value}", expected hex commit hash')
            found.checksum = value
        elif key in ("keep-git-dir", "submodules") and value in ("", "1", "0", "true", "false"):
            setattr(found, key.replace("-", "_"), value in ("", "1", "true"))
        else:
            raise InvalidArgument(f'invalid git URL: unexpected query "{key}={value}"')
    if not found.ref and _SHA.fullmatch(found.checksum):
        found.ref = found.checksum


def is_commit(text: str) -> bool:
    """Whether *text* is a commit's name, or the beginning of one."""
    return 7 <= len(text) <= 64 and not text.strip("0123456789abcdef")


def resolve_commit(repository: Repository) -> str:
    """The commit that the ref is now. Raises NotFound, Unavailable, InvalidArgument for another than was expected."""
    commit = repository.ref if _SHA.fullmatch(repository.ref) else _ask(repository)
    if not commit.startswith(repository.checksum):
        raise InvalidArgument(f"expected checksum to match {repository.checksum}, got {commit}")
    return commit


def _ask(repository: Repository) -> str:
    ref = repository.ref or "HEAD"
    names = (
        [f"{ref}^{{}}", ref]
        if ref == "HEAD" or ref.startswith("refs/")
        else [f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}"]
    )
    said = _git(repository, ["ls-remote", "--", repository.url, *names], None)
    found = {name: commit for commit, _, name in (line.partition("\t") for line in said.splitlines())}
    for name in names:
        if _SHA.fullmatch(found.get(name, "")):
            return found[name]
    raise NotFound(f"repository {hide_password(repository.url)} does not contain ref {ref}")


def checkout(repository: Repository, commit: str, path: str) -> None:
    """The files of *commit* at *path*, which must not exist. Raises NotFound, Unavailable, InvalidArgument."""
    os.mkdir(path, 0o700)
    _git(repository, ["init", "--quiet", "--template=", "."], path)
    fetch = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules"]
    wanted = commit if _SHA.fullmatch(repository.ref) or not repository.ref else repository.ref
    try:
        _git(repository, [*fetch, "--depth=1", "--", repository.url, wanted], path)
    except Unavailable:  # a server that gives no single commits: all of it then
        _git(repository, [*fetch, "--", repository.url, "+refs/*:refs/remotes/origin/*"], path)
    _git(repository, ["-c", "advice.detachedHead=false", "checkout", "--quiet", "--force", "--detach", commit, "--"], path)
    if repository.submodules and os.path.lexists(f"{path}/.gitmodules"):
        # Relative addresses are those beside this one.
        _git(repository, ["config", "remote.origin.url", repository.url], path)
        update = ["submodule", "--quiet", "update", "--init", "--recursive"]
        try:
            _git(repository, [*update, "--depth=1"], path)
        except Unavailable:
            _git(repository, update, path)
    if not repository.keep_git_dir:
        _remove_git_dirs(path)


def _remove_git_dirs(path: str) -> None:
    import shutil

    shutil.rmtree(f"{path}/.git")
    for folder, _folders, files in os.walk(path):
        if ".git" in files:  # of a submodule: where its repository was
            os.unlink(f"{folder}/.git")


def _git(repository: Repository, words: list[str], folder: str | None) -> str:
    program = next((place for place in _PLACES if os.path.exists(place)), "")
    if not program:
        raise Unavailable("git is not installed", "install the package git to build from repositories")
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    try:
        done = subprocess.run(
            [program, *settings, *words],
            cwd=folder or "/",
            env=_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            umask=0o022,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Unavailable(f"git {words[0]} {hide_password(repository.url)}: timed out after {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        said = hide_password(done.stderr.decode("utf-8", "replace").strip()[-2000:])
        raise Unavailable(f"git {hide_password(repository.url)}: {said or f'exit code {done.returncode}'}")
    return done.stdout.decode("utf-8", "replace")


def _environment() -> dict[str, str]:
    fixed = {
        "PATH": "/usr/bin:/bin",
        "HOME": "/nonexistent",
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "https:http:ssh:git",
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes -oProxyCommand=none -oPermitLocalCommand=no",
    }
    # The caller's own, for addresses that the caller may reach.
    kept = ("SSH_AUTH_SOCK", "http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY")
    return fixed | {name: os.environ[name] for name in kept if name in os.environ}
