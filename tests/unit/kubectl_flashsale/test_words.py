"""What the plugin understands: durations, times, command lines, and what completes them."""

from datetime import timedelta

import pytest

from kubectl_flashsale import arguments, completion, times


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("250ms", 0.25)],
)
def test_durations_are_those_of_kubectl(text, seconds):
    assert times.duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "1 h", "-5m", "1h x", "9999999h", "1d"])
def test_other_durations_are_refused(text):
    with pytest.raises(ValueError, match=r"duration|longer"):
        times.duration(text)


@pytest.mark.parametrize("text", ["2030-11-29", "2030-11-29T12:00:00", "noon", ""])
def test_time_without_zone_is_refused(text):
    with pytest.raises(ValueError, match="is no time"):
        times.moment(text)


def test_times_are_shown_in_utc():
    assert times.stamp(times.moment("2030-11-29T14:00:00+02:00")) == "2030-11-29T12:00:00Z"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-3, "0s"), (119, "119s"), (120, "2m"), (588, "9m48s"), (3600, "1h"), (90_061, "1d1h")],
)
def test_spans_have_two_units_at_most(seconds, shown):
    assert times.span(timedelta(seconds=seconds)) == shown


def test_common_flags_stand_before_or_after_the_command():
    for line in ("-n shop list", "list -n shop"):
        assert arguments.parse(line.split()).namespace == "shop"
    assert arguments.parse(["list"]).namespace is None


@pytest.mark.parametrize(
    "line",
    [
        "",
        "fly",
        "get",
        "get ",
        "list -o tree",
        "extend drop",
        "extend drop --by 1m --until 2030-11-29T12:00:00Z",
        "extend drop --by soon",
        "status drop --for phase=Nowhere",
        "simulate drop --buyers 0",
    ],
)
def test_mistakes_end_with_1_as_in_kubectl(line, capsys):
    with pytest.raises(SystemExit) as ended:
        arguments.parse(line.split(" "))
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: ")


ASKED = {"sales": ["drop", "dusk"], "namespaces": ["shop"], "contexts": ["east", "west"]}


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("li", ["list"]),
        ("get d", ["drop", "dusk"]),
        ("-n shop get du", ["dusk"]),
        ("get drop ", []),
        ("list ", []),
        ("list -n ", ["shop"]),
        ("--context w", ["west"]),
        ("report drop -o ", ["table", "json"]),
        ("status drop --for phase=So", ["phase=SoldOut"]),
        ("extend drop --unt", ["--until"]),
        ("get drop --unt", []),
        ("cancel drop -y ", []),
    ],
)
def test_completion_offers_what_may_stand_there(line, offered):
    found, directive = completion.complete(line.split(" "), lambda what, words: ASKED[what])
    assert [each.partition("\t")[0] for each in found] == offered
    assert directive == completion.NO_FILES


def test_completion_leaves_files_to_the_shell():
    assert completion.complete(["get", "--kubeconfig", ""], lambda what, words: []) == ([], 0)


def test_names_are_asked_for_where_the_command_line_looks():
    asked = []
    completion.complete(
        ["get", "-n", "shop", "--context", "west", ""],
        lambda what, words: asked.append((what, completion._given(words))) or [],
    )
    assert asked == [("sales", {"namespace": "shop", "context": "west", "kubeconfig": None})]
