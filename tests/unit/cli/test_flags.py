"""The parser against what Go's pflag does and says."""

from __future__ import annotations

import pytest

from inception.cli.flags import Command, HelpAsked, UsageError, parse, read_table

OPTIONS = """\
  -d, --detach             Run in the background
  -e, --env list           Environment
      --help               Print usage
  -h, --hostname string    Host name
  -i, --interactive        Keep stdin open
  -m, --memory bytes       Memory
      --name string        Name
      --cpus decimal       CPUs
  -p, --publish list       Ports
      --pull string        When to pull ("always", "missing")
                           (default "missing")
      --retries int        Retries
      --rm                 Remove
      --sig-proxy          Signals (default true)
      --sysctl map         Kernel settings
  -t, --tty                Terminal
      --wait duration      How long
      --alias strings      Names
  -f, --filter filter      Filter
      --mount[=file]       New namespace
"""

USAGE_PAGE = "\nUsage:  inception run [OPTIONS] IMAGE [COMMAND] [ARG...]\n\nRun 'inception run --help' for more information"


def command(**fields: object) -> Command:
    fields = {"minimum": 0, "options": OPTIONS, **fields}
    return Command(lambda _call: 0, "[OPTIONS] IMAGE [COMMAND] [ARG...]", "Run it", **fields)  # type: ignore[arg-type]


def read(*argv: str, **fields: object):  # type: ignore[no-untyped-def]
    return parse(command(**fields), "inception run", list(argv))


def complaint(*argv: str, **fields: object) -> UsageError:
    with pytest.raises(UsageError) as caught:
        read(*argv, **fields)
    return caught.value


def test_the_options_page_is_the_table():
    table = read_table(OPTIONS)
    assert (table["memory"].short, table["memory"].kind) == ("m", "bytes")
    assert table["pull"].default == "missing"
    assert table["detach"].kind == ""
    assert table["mount"].kind == "optional"


@pytest.mark.parametrize("argv", [["--name=web"], ["--name", "web"]])
def test_a_long_flag_takes_its_value_after_an_equals_sign_or_a_blank(argv):
    assert read(*argv)[0].text("name") == "web"


@pytest.mark.parametrize("argv", [["-p80:80"], ["-p", "80:80"], ["-p=80:80"]])
def test_a_short_flag_takes_its_value_glued_or_apart(argv):
    assert read(*argv)[0].list("publish") == ["80:80"]


def test_switches_bundle_and_the_last_of_a_bundle_may_take_a_value():
    flags, arguments = read("-dite", "A=1", "image")
    assert flags.on("detach") and flags.on("interactive") and flags.on("tty")
    assert flags.list("env") == ["A=1"]
    assert arguments == ["image"]


def test_a_switch_takes_a_value_only_after_an_equals_sign():
    flags, arguments = read("--rm=false", "--detach", "false", "--sig-proxy=0")
    assert not flags.on("rm") and flags.on("detach") and not flags.on("sig-proxy")
    assert arguments == ["false"]


def test_defaults_come_from_the_page():
    flags, _ = read()
    assert flags.text("pull") == "missing" and flags.on("sig-proxy") and not flags.given("pull")


def test_flags_after_the_image_belong_to_the_container():
    flags, arguments = read("-d", "image", "ls", "-l", "--rm", interspersed=False)
    assert arguments == ["image", "ls", "-l", "--rm"]
    assert not flags.on("rm")


def test_other_verbs_read_flags_after_arguments_too_until_two_dashes():
    flags, arguments = read("web", "--rm", "--", "--name", "x")
    assert flags.on("rm") and arguments == ["web", "--name", "x"]


def test_lists_maps_filters_and_optional_values():
    flags, _ = read("--sysctl", "a=1", "--sysctl=b=2=3", "-f", "label=x", "-f", "label=y", "--alias", "a,b", "--mount")
    assert flags.map("sysctl") == {"a": "1", "b": "2=3"}
    assert flags.filters() == {"label": ["x", "y"]}
    assert flags.list("alias") == ["a", "b"]
    assert flags.given("mount") and flags.text("mount") == ""
    assert read("--mount=/x")[0].text("mount") == "/x"


def test_typed_values():
    flags, _ = read("-m", "1.5g", "--cpus", "0.25", "--wait", "1m30s", "--retries=-3")
    assert flags.number("memory") == 3 << 29
    assert flags.number("cpus") == 250_000_000
    assert flags.number("wait") == 90 * 10**9
    assert flags.number("retries") == -3


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--foo"], "unknown flag: --foo"),
        (["--foo=1"], "unknown flag: --foo"),
        (["-q"], "unknown shorthand flag: 'q' in -q"),
        (["-dqx"], "unknown shorthand flag: 'q' in -qx"),
        (["--name"], "flag needs an argument: --name"),
        (["-e"], "flag needs an argument: 'e' in -e"),
        (["-de"], "flag needs an argument: 'e' in -de"),
        (["--=x"], "bad flag syntax: --=x"),
        (["---x"], "bad flag syntax: ---x"),
        (["-m", "x"], 'invalid argument "x" for "-m, --memory" flag: invalid size: \'x\''),
        (["--rm=maybe"], 'invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax'),
        (["--retries", "x"], 'invalid argument "x" for "--retries" flag: strconv.ParseInt: parsing "x": invalid syntax'),
        (["--wait", "5"], 'invalid argument "5" for "--wait" flag: time: missing unit in duration "5"'),
        (["--wait", "5x"], 'invalid argument "5x" for "--wait" flag: time: unknown unit "x" in duration "5x"'),
        (["--cpus", "1.1234567891"], 'invalid argument "1.1234567891" for "--cpus" flag: value is too precise'),
        (["-f", "x"], 'invalid argument "x" for "-f, --filter" flag: bad format of filter (expected name=value)'),
    ],
)
def test_bad_flags_are_named_in_dockers_words_and_exit_with_125(argv, message):
    error = complaint(*argv)
    assert str(error) == message
    assert error.page == USAGE_PAGE
    assert error.exit_code == 125


@pytest.mark.parametrize(
    ("bounds", "argv", "rule"),
    [
        ((1, None), [], "requires at least 1 argument"),
        ((2, None), ["a"], "requires at least 2 arguments"),
        ((2, 2), ["a"], "requires 2 arguments"),
        ((1, 1), ["a", "b"], "requires 1 argument"),
        ((0, 0), ["a"], "accepts no arguments"),
        ((0, 1), ["a", "b"], "requires at most 1 argument"),
        ((1, 2), ["a", "b", "c"], "requires at least 1 and at most 2 arguments"),
    ],
)
def test_a_wrong_number_of_arguments_is_told_with_the_usage_and_exits_with_1(bounds, argv, rule):
    error = complaint(*argv, minimum=bounds[0], maximum=bounds[1])
    assert str(error) == f"inception: 'inception run' {rule}"
    assert error.exit_code == 1
    assert error.page == USAGE_PAGE


def test_help_wins_over_missing_arguments_and_h_means_help_only_where_it_is_free():
    with pytest.raises(HelpAsked):
        read("--help", minimum=1)
    with pytest.raises(HelpAsked):
        parse(Command(lambda _call: 0, "", "x"), "inception ps", ["-h"])
    assert read("-h", "web")[0].text("hostname") == "web"


def test_a_flag_of_dockers_that_is_not_there_is_refused_by_name_with_the_reason():
    error = complaint("--gpus", "all", refused={"gpus": "there is no driver"})
    assert str(error) == "--gpus is not supported: there is no driver"


def test_old_spellings_mean_the_new_flag_and_hidden_ones_are_not_on_the_page():
    flags, _ = read("--title", "web", renamed={"title": "name"}, hidden="      --pause   Pause (default true)\n")
    assert flags.text("name") == "web" and flags.on("pause")
    assert "pause" not in command(hidden="      --pause   Pause\n").help("inception run")


def test_the_page_is_laid_out_as_dockers():
    page = Command(lambda _call: 0, "CONTAINER", "Stop it", "  -t, --timeout int   Seconds\n").help("inception stop", "a, b")
    assert page == (
        "Usage:  inception stop CONTAINER\n\nStop it\n\nAliases:\n  a, b\n\nOptions:\n  -t, --timeout int   Seconds\n"
    )
