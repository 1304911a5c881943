"""Environments of the Python peers, each built once from its own pinned requirements under .local/bench."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from deploy.local.kafka_jars import REPOSITORY

FOLDER = REPOSITORY / ".local" / "bench"
REQUIREMENTS = Path(__file__).parent / "peers" / "requirements"


class EnvironmentMissingError(RuntimeError):
    """An environment could not be built; the sentence says what to do."""


def python_of(name: str) -> str:
    """The Python of the environment whose requirements are `requirements/NAME.txt`; built now if it is not there.

    Raises EnvironmentMissingError.
    """
    requirements = REQUIREMENTS / f"{name}.txt"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode()).hexdigest()
    folder, ready = FOLDER / name, FOLDER / name / "ready"
    python = folder / "bin" / "python"
    if not (ready.is_file() and ready.read_text(encoding="utf-8") == wanted):
        print(f"building the environment of {name} in {folder.relative_to(REPOSITORY)}: a minute, once", flush=True)
        _build(folder, python, requirements)
        ready.write_text(wanted, encoding="utf-8")
    return str(python)


def _build(folder: Path, python: Path, requirements: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    if not uv.is_file():
        raise EnvironmentMissingError(f"{uv} was not found; run make setup")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    for command in (
        ["venv", "--python", sys.executable, str(folder)],
        ["pip", "install", "--no-deps", "--python", str(python), "--requirement", str(requirements)],
    ):
        done = subprocess.run(
            [str(uv), *command], check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        if done.returncode:
            said = done.stdout.strip().splitlines()
            raise EnvironmentMissingError(
                f"the environment of {folder.name} was not built: {said[-1] if said else 'uv said nothing'}; "
                f"look at {requirements.relative_to(REPOSITORY)}, or at the connection to the package index"
            )
