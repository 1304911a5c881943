"""Write deploy/sample_day/data/ and the tables of the README anew: `python -m deploy.sample_day.generate`.

From the same seed and the same services come the same files, byte for byte; a test compares them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deploy.sample_day.day import SEED, TRADES, Day, generate
from deploy.sample_day.files import files
from deploy.sample_day.promises import expected, tables

__all__ = ["DATA", "README", "Day", "all_files", "generate", "with_tables"]

DATA = Path(__file__).parent / "data"
README = Path(__file__).parent / "README.md"
_BEGIN, _END = "<!-- tables: begin; python -m deploy.sample_day.generate writes them -->\n", "\n<!-- tables: end -->"


def all_files(day: Day, expected_day: dict[str, Any]) -> dict[str, bytes]:
    """Content of every file in the data folder by its path."""
    text = json.dumps(expected_day, indent=2, ensure_ascii=False) + "\n"
    return files(day) | {"expected.json": text.encode()}


def with_tables(readme: str, expected_day: dict[str, Any]) -> str:
    """The README with its tables as they must be. Raises ValueError when the marks around them are gone."""
    before, begin, rest = readme.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if not begin or not end:
        raise ValueError(f"the README was without its marks {_BEGIN.strip()} and {_END.strip()}")
    return before + begin + tables(expected_day) + end + after


def main() -> None:
    """Write the sample day, and take away what is no longer part of it."""
    day = generate(SEED, TRADES)
    expected_day = expected(day, seed=SEED)
    written = all_files(day, expected_day)
    for path in sorted(DATA.rglob("*")):
        if path.is_file() and path.relative_to(DATA).as_posix() not in written:
            path.unlink()
    for name, content in written.items():
        path = DATA / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    README.write_text(with_tables(README.read_text(encoding="utf-8"), expected_day), encoding="utf-8", newline="\n")
    counts = ", ".join(f"{value} {name}" for name, value in expected_day.items() if name != "details")
    print(f"{DATA}: {sum(map(len, written.values()))} bytes; in the end {counts}")


if __name__ == "__main__":
    main()
