"""Whatever stands on a command line is read or refused; nothing else ever comes out."""

from __future__ import annotations

import string

from hypothesis import given, settings
from hypothesis import strategies as st

from inception.cli.flags import HelpAsked, UsageError, parse
from inception.cli.mounts import parse_mount, parse_tmpfs, parse_volume
from inception.cli.run import RUN
from inception.cli.run_config import config_of
from inception.cli.template import Template, TemplateError

VALUE = {"Id": "4f66", "State": {"Pid": 7, "Health": None}, "Args": ["a", "b"], "Config": {"Labels": {"x": "y"}}, "On": True}
_PIECES = """
    {{ }} {{- -}} . .Id .State.Pid .State.Health.Log .Args .Config.Labels $ $x := = | ( ) "s" `r` 'c' 7 1.5 -2 true nil if
    else end range with break continue eq lt and or not len index slice print printf println json join split upper title pad
    truncate define template /* */ , "%d" "%s%v%q" x \\n
"""
PIECES = st.sampled_from(_PIECES.split())
TEMPLATES = st.lists(PIECES, max_size=14).map(" ".join) | st.lists(PIECES, max_size=10).map("".join) | st.text(max_size=40)
FLAGS = (
    [f"--{name}" for name in RUN.table()]
    + [f"-{flag.short}" for flag in RUN.table().values() if flag.short]
    + ["--", "-", "-it"]
)
WORDS = (
    st.sampled_from(FLAGS)
    | st.text(string.printable, max_size=12)
    | st.sampled_from(["=", "a=b", "1m", "-1", "80:80", "/a:/b"])
)


@settings(max_examples=400, deadline=None)
@given(TEMPLATES | TEMPLATES.map("{{{}}}".format))
def test_templates_render_or_say_what_is_wrong_with_them(text):
    try:
        Template(text).render(VALUE)
    except TemplateError as error:
        assert str(error).startswith("template")


@settings(max_examples=300, deadline=None)
@given(st.lists(WORDS, max_size=6), st.sampled_from([[], ["busybox"]]))
def test_command_lines_are_read_or_refused(argv, image):
    try:
        flags, arguments = parse(RUN, "inception run", [*argv, *image])
        config_of(flags, arguments[0], arguments[1:], "")
    except (UsageError, HelpAsked):
        pass


@settings(max_examples=300, deadline=None)
@given(st.text(string.ascii_lowercase[:6] + "/:=,.\"' ~-", max_size=30) | st.text(max_size=20))
def test_mounts_are_read_or_refused(text):
    for read in (parse_mount, parse_tmpfs, parse_volume):
        try:
            read(text)
        except ValueError:
            pass
