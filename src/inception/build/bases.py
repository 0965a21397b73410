"""The images that a build stands on and copies from: in the store, on a registry, made from packages, in a folder.

Where another platform than the machine's is wanted, names keep meaning here what they meant before.
"""

from __future__ import annotations

from inception.build.plan import LAYOUT_CONTEXT, BaseImage
from inception.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from inception.build.caller import Caller
    from inception.build.config import BuildConfig
    from inception.build.progress import Reporter
    from inception.engine import Engine
    from inception.store.images import Image
    from inception.store.progress import Progress


class Bases:
    """Those of one build, by their names and, where it is not the machine's, their platform: as the store has them (`images`),
    and as plans do (`found`)."""

    def __init__(self, engine: Engine, config: BuildConfig, caller: Caller, reporter: Reporter) -> None:
        self._engine = engine
        self._store = engine.store
        self._config = config
        self._caller = caller
        self._reporter = reporter
        self.images: dict[str, Image] = {}
        self.found: dict[str, BaseImage] = {}

    def resolve(self, name: str, platform: str = "") -> BaseImage:
        """The base image *name*, from the store, a registry, or made from packages; for another *platform* than the machine's
        without a change of what *name* means here."""
        with self._reporter.step(f"[internal] load metadata for {name}") as report:
            said: set[str] = set()

            def tell(progress: Progress) -> None:
                line = f"{progress.id}: {progress.status}" if progress.id else progress.status
                if line not in said:  # bytes come in many pieces, words change rarely
                    said.add(line)
                    report.output(f"{line}\n".encode())

            if name.startswith(LAYOUT_CONTEXT):
                image = self._caller.open_layout(self._store, name.removeprefix(LAYOUT_CONTEXT), platform)
            else:
                image = self._ensure(name, platform, tell)
        key = f"{name} for {platform}" if platform else name
        self.images[key] = image
        digest = image.repo_digests[0].partition("@")[2] if image.repo_digests else image.manifest_digest
        self.found[key] = BaseImage(reference=key, id=image.id, document=image.document, digest=digest)
        return self.found[key]

    def _ensure(self, name: str, platform: str, tell: Callable[[Progress], None]) -> Image:
        before = self._find(name) if platform else None
        pull = "always" if self._config.pull else "missing"
        log_in = self._caller.credentials(name)
        image = self._engine.images.ensure(name, pull=pull, progress=tell, platform=platform, credentials=log_in)
        if before is not None and before.id != image.id and name in before.names:
            self._store.images.tag(before.id, name)
        return image

    def _find(self, name: str) -> Image | None:
        try:
            return self._store.images.resolve(name)
        except NotFound:
            return None
