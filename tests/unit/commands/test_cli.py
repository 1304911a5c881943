"""What a person who mistypes sees: one clear line and exit code 2, never a traceback."""

from __future__ import annotations

from decimal import Decimal
from importlib.metadata import version

import pytest

from services.commands.cluster import Cluster
from services.commands.text import columns
from services.settings import load_settings
from tests.unit.commands.support import run

NOTHING_NAMED: dict[str, str] = {}

WRONG = [
    ("", "Missing command"),
    ("tial", "Did you mean tail?"),
    ("topics", "Missing command"),
    ("topics lst", "Did you mean list?"),
    ("tail", "Missing argument 'TOPIC'"),
    ("tail trades.capture", "Did you mean trades.captured?"),
    ("tail trades.captured --max 0", "--max"),
    ("tail trades.captured --until-idle x", "--until-idle"),
    ("trade X --jsno", "--jsno"),
    ("worker --services captre", "Did you mean capture?"),
    ("worker --services capture,", "service (empty) is unknown"),
    ("worker --slot 1000", "--slot"),
    ("reference lod", "Did you mean load?"),
    ("reference load /does/not/exist", "/does/not/exist"),
    ("send executions /does/not/exist", "/does/not/exist"),
    ("send executions - --rate 0", "--rate"),
    ("send trades x", "command trades is unknown"),
]


@pytest.mark.parametrize(("arguments", "says"), WRONG)
def test_wrong_arguments_give_one_line_and_exit_code_2(arguments: str, says: str) -> None:
    """A script that checks the code and a person who reads the line both learn what was wrong."""
    result = run(arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert says in line


@pytest.mark.parametrize(
    "arguments", ["summary", "tail exceptions", "trade X", "worker", "topics apply", "send fix -", "send executions -"]
)
def test_a_missing_cluster_is_named_before_anything_is_tried(arguments: str) -> None:
    """Every command that needs a cluster names the variable that is not set."""
    result = run(arguments, Cluster(NOTHING_NAMED), given="")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert "KAFKA_BOOTSTRAP_SERVERS is not set" in line


def test_a_misspelt_setting_is_an_error_of_every_command() -> None:
    """A setting that is silently ignored is found at the worst moment."""
    result = run("summary", Cluster({"POSTTRADE_TOPIC_PREFX": "uat."}))
    assert result.exit_code == 2
    assert "POSTTRADE_TOPIC_PREFX is not a setting" in result.stderr


@pytest.mark.parametrize("text", ["a fifth", "1.5", "-0.1", ".2.", "", "1e-1"])
def test_a_limit_on_dead_letters_that_is_no_share_is_refused(text: str) -> None:
    """A limit that was read wrongly would stop everything or nothing."""
    result = run("summary", Cluster({"POSTTRADE_DEAD_LETTER_SHARE_MAX": text}))
    assert (result.exit_code, len(result.stderr.splitlines())) == (2, 1)
    assert "POSTTRADE_DEAD_LETTER_SHARE_MAX was" in result.stderr


def test_a_limit_on_dead_letters_is_a_number_from_0_to_1() -> None:
    """The default, and what an operator raises it to for one day."""
    assert load_settings({}).dead_letter_share_max == Decimal("0.2")
    assert load_settings({"POSTTRADE_DEAD_LETTER_SHARE_MAX": "0.45"}).dead_letter_share_max == Decimal("0.45")
    assert load_settings({"POSTTRADE_DEAD_LETTER_SHARE_MAX": "1"}).dead_letter_share_max == 1


def test_a_cluster_that_does_not_answer_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says which address was tried, and librdkafka's own lines stay out of standard error."""
    monkeypatch.setattr("services.adapters.topic_admin.REACH_SECONDS_MAX", 0.5)
    monkeypatch.setattr("services.adapters.topic_admin.TopicAdmin.reach.__defaults__", (0.5,))
    result = run("summary", Cluster({"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}))
    assert result.exit_code == 1
    assert result.stderr.splitlines() == ["error: no Kafka cluster answered at 127.0.0.1:1 within 0.5 s"]


@pytest.mark.parametrize("arguments", ["--help", "worker --help", "send --help", "send fix --help", "topics apply -h"])
def test_help_is_on_standard_output(arguments: str) -> None:
    """Help that was asked for is no error."""
    result = run(arguments)
    assert result.exit_code == 0
    assert "Usage:" in result.stdout
    assert "completion" not in result.stdout


def test_every_command_is_in_the_help_with_a_whole_sentence() -> None:
    """A sentence that is cut off with dots says nothing."""
    commands = run("--help").stdout.partition("Commands:")[2]
    for name in ("worker", "topics", "reference", "send", "explain", "tail", "trade", "summary"):
        assert f"  {name} " in commands
    assert "..." not in commands


def test_the_version_is_that_of_the_package() -> None:
    """Support asks for it first."""
    result = run("--version")
    assert (result.exit_code, result.stdout) == (0, f"posttrade {version('posttrade')}\n")


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    """Numbers stand under each other at their last digit, and no line ends in blanks."""
    assert columns(("a", "n", ""), [("long", "5", "x"), ("b", "1,000", "")], right=[1]) == (
        "a         n\nlong      5  x\nb     1,000"
    )
