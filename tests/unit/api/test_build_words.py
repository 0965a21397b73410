"""What the classic builder says, from the events of ours."""

from __future__ import annotations

from inception.api.build import _Words
from inception.build.progress import Reporter

PLAN = ["[one 1/2] FROM bb", "ENV A=b", "[one 2/2] RUN make", "LABEL x=y", "FROM scratch", "[1/1] COPY --from=one / /", "CMD x"]


def _lines(cached: bool) -> str:
    said: list[str] = []
    reporter = Reporter(_Words(lambda document: said.append(document["stream"])))
    reporter.plan(PLAN)
    for title in PLAN:
        if not title.startswith("["):
            continue
        with reporter.step(title) as step:
            if cached or "FROM bb" in title:
                step.cached()
            else:
                step.making()
            if "RUN" in title and not cached:
                step.output(b"out\n")
                step.output(b"err\n", stream=2)
    return "".join(said)


def test_every_instruction_has_its_number_and_what_it_says_stands_below_it() -> None:
    assert _lines(cached=False) == (
        "Step 1/7 : FROM bb\nStep 2/7 : ENV A=b\nStep 3/7 : RUN make\nout\n\x1b[91merr\n\x1b[0mStep 4/7 : LABEL x=y\n"
        "Step 5/7 : FROM scratch\nStep 6/7 : COPY --from=one / /\nStep 7/7 : CMD x\n"
    )


def test_all_but_from_comes_out_of_the_cache_with_the_files_beside_it() -> None:
    said = _lines(cached=True).split("Step ")
    assert [" ---> Using cache\n" in step for step in said[1:]] == [False, True, True, True, False, True, True]


def test_an_image_of_settings_alone_has_its_steps_too() -> None:
    said: list[str] = []
    Reporter(_Words(lambda document: said.append(document["stream"]))).plan(["FROM scratch", "LABEL a=b"])
    assert said == ["Step 1/2 : FROM scratch\n", "Step 2/2 : LABEL a=b\n"]
