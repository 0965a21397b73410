"""COPY and ADD: which sources go where, and as what; here-documents are among them, and for ADD addresses and repositories."""

from __future__ import annotations

from inception.build import expand as expansion
from inception.build.operations import Copy, hide_password
from inception.build.parse import heredoc_word
from inception.errors import InvalidArgument

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.instruction import Instruction
    from inception.build.stage import Stage


def plan_copy(stage: Stage, instruction: Instruction) -> None:
    flags = {name: stage.expand(instruction.flag(name)) for name in ("chown", "chmod", "checksum")}
    if flags["chmod"]:
        from inception.build.mode import parse_mode

        parse_mode(flags["chmod"])
    *words, last = instruction.arguments
    documents = iter(instruction.heredocs)
    sources: list[str] = []
    files: list[tuple[str, str]] = []
    urls: list[str] = []
    repositories: list[str] = []
    for word in words:
        if not instruction.json and instruction.heredocs and heredoc_word(word) is not None:
            document = next(documents)
            text = expansion.expand_heredoc(document.text, stage.names()) if document.expand else document.text
            files.append((document.name, text))
            continue
        source = stage.expand(word)
        if instruction.name == "ADD" and _is_repository(source):
            repositories.append(source)
        elif source.lower().startswith(("http://", "https://")):
            if instruction.name == "COPY":
                raise ValueError("source can't be a URL for COPY")
            urls.append(source)
        else:
            sources.append(source)
    if next(documents, None) is not None:
        raise ValueError("a here-document can't be the destination")
    destination = stage.absolute(stage.expand(last))
    if instruction.name == "ADD":
        _check_add(instruction, sources, urls, repositories, flags["checksum"])
    if len(words) > 1 and not destination.endswith("/"):
        raise ValueError(
            f"When using {instruction.name} with more than one source file, "
            "the destination must be a directory and end with a /"
        )
    origin = _origin(stage, instruction)
    exclude = [stage.expand(text) for text in instruction.flags.get("exclude", [])]
    shown = [f"--{name}={value}" for name, value in flags.items() if value] + [f"--exclude={text}" for text in exclude]
    shown += ["--parents"] if instruction.flag("parents") == "true" else []
    shown += ["--link"] if instruction.flag("link") == "true" else []
    shown += ["--keep-git-dir"] if instruction.flag("keep-git-dir") == "true" else []
    names = [*sources, *urls, *repositories, *(f"<<{name}" for name, _ in files)]
    unpack = {"": None, "true": True, "false": False}[instruction.flag("unpack")] if instruction.name == "ADD" else False
    stage.plan.operations.append(
        stage.operation(
            Copy,
            hide_password(" ".join([instruction.name, *shown, *names, destination])) + " # buildkit",
            sources=sources,
            destination=destination,
            origin=origin,
            files=files,
            urls=urls,
            repositories=repositories,
            keep_git_dir=instruction.flag("keep-git-dir") == "true",
            chown=flags["chown"],
            chmod=flags["chmod"],
            exclude=exclude,
            parents=instruction.flag("parents") == "true",
            unpack=unpack,
            checksum=flags["checksum"],
        )
    )


def _origin(stage: Stage, instruction: Instruction) -> str:
    name = instruction.flag("from")
    if not name:
        return ""
    if "$" in name:
        raise ValueError(
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a "
            f"workaround: FROM {name} AS <name>"
        )
    return stage.find_origin(name)


def _is_repository(source: str) -> bool:
    if not source.startswith(("git@", "git://", "ssh://", "http://", "https://", "github.com/")):
        return False
    from inception.build.git import parse_repository

    try:
        return parse_repository(source) is not None
    except InvalidArgument as error:
        raise ValueError(str(error)) from None


def _check_add(instruction: Instruction, sources: list[str], urls: list[str], repositories: list[str], checksum: str) -> None:
    if instruction.flag("keep-git-dir") == "true" and not repositories:
        raise ValueError("--keep-git-dir is for git repositories: none is a source")
    if not checksum:
        return
    if len(sources) + len(urls) + len(repositories) != 1 or sources:
        raise ValueError("checksum can't be specified for " + ("non-HTTP(S) sources" if not urls else "multiple sources"))
    if repositories:
        from inception.build.git import is_commit

        if not is_commit(checksum):
            raise ValueError(f'invalid checksum "{checksum}", expected hex commit hash')
        return
    algorithm, _, digits = checksum.partition(":")
    if algorithm != "sha256" or len(digits) != 64 or digits.strip("0123456789abcdef"):
        raise ValueError(f"invalid checksum {checksum!r}: expected sha256: and 64 hex digits")
