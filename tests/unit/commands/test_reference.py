"""Loading reference data: all of it or nothing."""

from __future__ import annotations

from pathlib import Path

from services.adapters.reference_files import SHIPPED_DIRECTORY, load_directory
from services.commands.cluster import Cluster
from services.commands.scan import read_all
from tests.unit.commands.support import MemoryCluster, run

PARTIES = "bic,lei,name\nDEUTDEFFXXX,7LTWFZYICNSX8D621K86,Deutsche Bank\n"


def test_rows_are_sent_under_their_keys(tmp_path: Path) -> None:
    """A later row under the same key replaces the earlier one on the compacted topic."""
    (tmp_path / "parties.csv").write_text(PARTIES)
    cluster = MemoryCluster()
    result = run(["reference", "load", str(tmp_path)], cluster)
    assert result.exit_code == 0, result.stderr
    assert [line.split() for line in result.stdout.splitlines()] == [
        ["folder", "file", "topic", "rows", "newest", "from"],
        [str(tmp_path), "parties.csv", "reference.parties", "1", "1900-01-01"],
        ["total", "1"],
        ["loaded", "1", "row"],
    ]
    (record,) = read_all(cluster.memory, ["reference.parties"])
    assert record.key == b"DEUTDEFFXXX|1900-01-01"


def test_every_fault_is_one_line_and_nothing_is_loaded(tmp_path: Path) -> None:
    """A file with a wrong check digit and another with a wrong header are both named, with line and column."""
    (tmp_path / "parties.csv").write_text(PARTIES + "DEUTDEFF,7LTWFZYICNSX8D621K87,Other\n")
    (tmp_path / "accounts.csv").write_text("account,nam,allocation_policy\nA,B,SINGLE\n")
    cluster = MemoryCluster()
    result = run(["reference", "load", str(tmp_path)], cluster)
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert any(line.startswith(f"error: {tmp_path}/parties.csv:3: column lei was") for line in lines)
    assert any(line.startswith(f"error: {tmp_path}/accounts.csv:1: column nam was") for line in lines)
    assert list(read_all(cluster.memory, ["reference.parties"])) == []


def test_a_folder_without_reference_data_is_a_fault(tmp_path: Path) -> None:
    """Loading nothing from the wrong folder must not look like success."""
    result = run(["reference", "load", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds no reference data" in result.stderr


def test_without_a_folder_the_shipped_defaults_are_loaded() -> None:
    """A new installation starts from them, and nobody has to know where they lie."""
    cluster = MemoryCluster()
    result = run("reference load", cluster)
    assert result.exit_code == 0, result.stderr
    assert f"loaded {len(load_directory(SHIPPED_DIRECTORY)):,} rows" in result.stdout
    cycles = {record.key for record in read_all(cluster.memory, ["reference.settlement-cycles"])}
    assert b"US|*|2024-05-28" in cycles


def test_every_file_that_is_shipped_is_told_with_its_topic_and_count() -> None:
    """The table is what an operator compares with the files."""
    lines = run("reference load").stdout.splitlines()
    for path in SHIPPED_DIRECTORY.glob("*.csv"):
        text = path.read_text(encoding="utf-8")
        header, *rows = [row for row in text.splitlines() if row and not row.startswith("#")]
        assert "," in header
        told = [line.split()[2:4] for line in lines if path.name in line]
        assert told == ([[f"reference.{path.stem}", f"{len(rows):,}"]] if rows else [])


def test_one_wrong_row_in_one_of_several_folders_loads_nothing(tmp_path: Path) -> None:
    """Half a set of reference data is worse than the old one."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    for folder in (good, bad):
        folder.mkdir()
    (good / "parties.csv").write_text(PARTIES)
    (bad / "settlement-cycles.csv").write_text("settlement_market,days\nDE,two\n")
    cluster = MemoryCluster()
    result = run(["reference", "load", str(good), str(bad)], cluster)
    assert result.exit_code == 2
    assert result.stdout == ""
    place = f"{bad}/settlement-cycles.csv:2: column days"
    assert result.stderr == f"error: {place} was 'two', expected a whole number, 0 or more\n"
    assert list(read_all(cluster.memory, ["reference.parties"])) == []


def test_a_check_loads_nothing_and_needs_no_cluster(tmp_path: Path) -> None:
    """Files are checked where they are written, before anybody is asked for a cluster."""
    (tmp_path / "parties.csv").write_text(PARTIES)
    result = run(["reference", "load", "--check", str(tmp_path)], Cluster({}))
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (0, "checked; nothing was loaded")


def test_the_shipped_defaults_are_in_one_place_and_each_row_has_its_source() -> None:
    """A row nobody can look up again is a rumour."""
    assert [repr(record) for record in load_directory(SHIPPED_DIRECTORY) if not record.source] == []
