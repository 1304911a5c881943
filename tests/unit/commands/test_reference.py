"""Loading reference data: all of it or nothing."""

from __future__ import annotations

from pathlib import Path

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
        ["file", "topic", "rows"],
        ["parties.csv", "reference.parties", "1"],
        ["total", "1"],
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
    assert any(line.startswith("error: parties.csv:3: column lei was") for line in lines)
    assert any(line.startswith("error: accounts.csv:1: column nam was") for line in lines)
    assert list(read_all(cluster.memory, ["reference.parties"])) == []


def test_a_folder_without_reference_data_is_a_fault(tmp_path: Path) -> None:
    """Loading nothing from the wrong folder must not look like success."""
    result = run(["reference", "load", str(tmp_path)])
    assert result.exit_code == 2
    assert "holds no reference data" in result.stderr
