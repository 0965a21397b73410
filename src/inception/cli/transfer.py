"""Images in and out: pull, push, load, save, import, bootstrap."""

from __future__ import annotations

import os
import sys

from inception.cli.call import Call
from inception.cli.flags import Command
from inception.cli.format import printable
from inception.cli.progress import PullProgress
from inception.errors import InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO

    from inception.store.progress import Progress


def pull(call: Call) -> int:
    flags, name = call.flags, call.arguments[0]
    progress = PullProgress(sys.stdout, quiet=flags.on("quiet"))
    every = flags.on("all-platforms")
    if not flags.on("all-tags"):
        _say_default(name, quiet=flags.on("quiet"))
    if flags.on("all-tags"):
        if every:
            raise InvalidArgument("--all-platforms can't be used with --all-tags/-a")
        if "@" in name or ":" in name.rpartition("/")[2]:
            raise InvalidArgument("tag can't be used with --all-tags/-a")
        call.engine.images.pull_all_tags(name, progress=progress, platform=flags.text("platform"))
    else:
        call.engine.images.pull(name, progress=progress, platform=flags.text("platform"), all_platforms=every)
    _say(_spelt_out(call, name), tagged=not flags.on("all-tags"))
    return 0


def _spelt_out(call: Call, name: str) -> str:
    """A short name as the settings of this machine have it; another engine's are not known here."""
    if call.is_remote:
        return name
    from inception.store.hosts import full_name, load_registries

    return full_name(load_registries(), name)


def _say_default(name: str, *, quiet: bool) -> None:
    from inception.oci.reference import Reference

    Reference.parse(name)
    if not quiet and "@" not in name and ":" not in name.rpartition("/")[2]:
        print("Using default tag: latest", flush=True)


def _say(name: str, *, tagged: bool = True) -> None:
    """Docker's last word on an image that has arrived: its full name."""
    from inception.oci.reference import Reference

    reference = Reference.parse(name)
    print(reference if tagged else reference.repository)


def push(call: Call) -> int:
    flags, name = call.flags, call.arguments[0]
    images = call.engine.images
    progress = PullProgress(sys.stdout, quiet=flags.on("quiet"))
    names = _tags_of(call, name) if flags.on("all-tags") else [name]
    if not flags.on("all-tags"):
        _say_default(name, quiet=flags.on("quiet"))
    for each in names:
        images.push(
            each,
            progress=progress,
            compression=flags.text("compression-format"),
            platform=flags.text("platform"),
            all_platforms=flags.on("all-platforms"),
        )
        if flags.on("quiet"):
            _say(each)
    return 0


def _tags_of(call: Call, repository: str) -> list[str]:
    from inception.oci.reference import Reference

    reference = Reference.parse(repository)
    if ":" in repository.rpartition("/")[2]:
        raise InvalidArgument("tag can't be used with --all-tags/-a")
    wanted = reference.familiar_repository
    found = {name for image in call.engine.images.list(all=True) for name in image.names if name.rpartition(":")[0] == wanted}
    if not found:
        raise NotFound(f"An image does not exist locally with the tag: {wanted}")
    return sorted(found)


def load(call: Call) -> int:
    path = call.flags.text("input")
    if not path and sys.stdin.isatty():
        raise InvalidArgument("requested load from stdin, but stdin is empty")
    show = PullProgress(sys.stderr, quiet=call.flags.on("quiet") or not sys.stderr.isatty())

    def progress(news: Progress) -> None:
        if news.id:
            show(news)
        else:  # what the load has done to images that were here
            print(printable(news.status), flush=True)

    with _open(path) as stream:
        names = call.engine.images.load(stream, progress=progress, platform=call.flags.text("platform"))
    for name in names:
        print(f"Loaded image ID: {name}" if name.startswith("sha256:") else f"Loaded image: {name}")
    return 0


def _open(path: str) -> BinaryIO:
    if path and os.path.isfile(f"{path}/index.json"):
        from inception.cli.layout import open_layout

        return open_layout(path)
    return open(path, "rb") if path else open(0, "rb", closefd=False)


def save(call: Call) -> int:
    from inception.cli.files import write_stream  # with more beside it than a pull has use for

    chunks = call.engine.images.save(call.arguments, platform=call.flags.text("platform"))
    write_stream(call.flags.text("output"), chunks)
    return 0


def import_(call: Call) -> int:
    source = call.arguments[0]
    reference = call.arguments[1] if len(call.arguments) > 1 else ""
    with _open_source(source) as stream:
        image = call.engine.images.import_(
            stream,
            reference,
            message=call.flags.text("message"),
            changes=call.flags.list("change"),
            platform=call.flags.text("platform"),
        )
    print(image.id)
    return 0


def _open_source(source: str) -> BinaryIO:
    from inception.engine.web import is_url, open_url

    if not is_url(source):
        return _open("" if source == "-" else source)
    print(f"Downloading from {source}", file=sys.stderr)
    return open_url(source)


def bootstrap(call: Call) -> int:
    for name in call.arguments:
        call.engine.images.bootstrap(name, progress=PullProgress(sys.stderr, quiet=call.flags.on("quiet")))
        _say(name)
    return 0


PULL = Command(
    pull,
    "[OPTIONS] NAME[:TAG|@DIGEST]",
    "Download an image from a registry",
    """\
      --all-platforms     Download everything that the name lists, for whatever platform
  -a, --all-tags          Download all tagged images in the repository
      --platform string   Set platform if server is multi-platform capable
  -q, --quiet             Suppress verbose output
""",
    minimum=1,
    maximum=1,
)
PUSH = Command(
    push,
    "[OPTIONS] NAME[:TAG]",
    "Upload an image to a registry",
    """\
      --all-platforms               Fail unless all that the name lists can be pushed
  -a, --all-tags                    Push all tags of an image to the repository
      --compression-format string   How layers made here are compressed ("gzip", "zstd") (default "gzip")
      --platform string             Push only the image for this platform
  -q, --quiet                       Suppress verbose output
""",
    minimum=1,
    maximum=1,
)
LOAD = Command(
    load,
    "[OPTIONS]",
    "Load an image from a tar archive or STDIN",
    """\
  -i, --input string      Read from a tar archive, instead of STDIN
      --platform string   Load only the image for this platform
  -q, --quiet             Suppress the load output
""",
    maximum=0,
)
SAVE = Command(
    save,
    "[OPTIONS] IMAGE [IMAGE...]",
    "Save one or more images to a tar archive (streamed to STDOUT by default)",
    """\
  -o, --output string     Write to a file, instead of STDOUT
      --platform string   Save only the images for these platforms ("linux/amd64,linux/arm64")
""",
    minimum=1,
)
IMPORT = Command(
    import_,
    "[OPTIONS] file|- [REPOSITORY[:TAG]]",
    "Import the contents from a tarball to create a filesystem image",
    """\
  -c, --change list       Apply a Dockerfile instruction to the created image
  -m, --message string    Set a commit message for the imported image
      --platform string   What the image is for (default: this machine)
""",
    minimum=1,
    maximum=2,
)
BOOTSTRAP = Command(
    bootstrap,
    "[OPTIONS] IMAGE [IMAGE...]",
    "Make a Debian or Ubuntu base image from the distribution's own packages",
    "  -q, --quiet   Suppress progress output\n",
    minimum=1,
)
