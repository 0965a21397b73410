"""The finished image: its configuration document and history, as Docker writes them.

Times come from the layers: a build whose every step was cached gives the same document, byte for byte, and so the same image
id. `SOURCE_DATE_EPOCH` replaces them all.
"""

from __future__ import annotations

from inception.build.operations import Operation
from inception.oci.image import History, ImageDocument, RootFs, host_platform, parse_platform
from inception.record import Record, replace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from inception.build.plan import StagePlan
    from inception.oci.image import ImageConfig

_COMMENT = "buildkit.dockerfile.v0"


class Outcome(Record):
    """What one operation came to: `layer` when it made one; `created` is when, empty for configuration."""

    operation: Operation
    layer: bool = False
    created: str = ""


def make_document(
    plan: StagePlan, base: ImageDocument | None, outcomes: list[Outcome], diff_ids: list[str], epoch: str
) -> ImageDocument:
    """*outcomes* are those since *base*, through all the stages that lie between; *epoch* is a fixed time or empty."""
    inherited = list(base.history) if base is not None else []
    own_platform = parse_platform(plan.platform) if plan.platform else host_platform()
    times = [epoch] * len(outcomes) if epoch else _times([outcome.created for outcome in outcomes], base)
    own = [
        History(
            created=time,
            created_by=outcome.operation.created_by,
            comment=_COMMENT,
            empty_layer=not outcome.layer,
        )
        for outcome, time in zip(outcomes, times, strict=True)
    ]
    history = inherited + own
    return ImageDocument(
        created=history[-1].created if history else epoch,
        author=plan.author,
        architecture=base.architecture if base is not None else own_platform.architecture,
        os=base.os if base is not None else own_platform.os,
        os_version=base.os_version if base is not None else "",
        os_features=list(base.os_features) if base is not None else [],
        variant=base.variant if base is not None else own_platform.variant,
        config=_in_order(plan.config),
        rootfs=RootFs(diff_ids=diff_ids),
        history=history,
    )


def _in_order(config: ImageConfig) -> ImageConfig:
    """With maps as Go writes them: the image's id doesn't depend on the order of `EXPOSE 80 443`."""
    maps = {name: dict(sorted(getattr(config, name).items())) for name in ("exposed_ports", "volumes", "labels")}
    return replace(config, **maps)


def _times(created: list[str], base: ImageDocument | None) -> list[str]:
    """Configuration has no time of its own: it takes that of the layer before it, or of the first one after."""
    last = next((time for time in created if time), base.created if base is not None else "")
    times = []
    for time in created:
        last = time or last
        times.append(last)
    return times
