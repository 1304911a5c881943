"""The peer is built once for each state of its sources; what is missing is told in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.local.tools import LocalServerError, MissingToolError
from tests.bench import kafka_streams_build

MAVEN = """#!/bin/sh
echo call >> {calls}
for argument; do case $argument in -Doutput.directory=*) target=${{argument#*=}};; esac; done
mkdir -p "$target/libs" && echo jar > "$target/kafka-streams-peer.jar"
{ending}
"""


class Ground:
    """A project of one class and one schema, and a Maven that makes a jar and counts how often it is called."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.project, self.schemas, self.local = tmp_path / "project", tmp_path / "schemas", tmp_path / "local"
        self.source, self.schema = self.project / "src" / "Main.java", self.schemas / "trade.avsc"
        for path in (self.project / "pom.xml", self.source, self.schema):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(path.name)
        self._calls, self.tools = tmp_path / "calls", tmp_path / "tools"
        self.tools.mkdir()
        self._program("java", "#!/bin/sh\necho 'openjdk version \"17.0.1\"' >&2\n")
        self.maven_ends_with("")
        monkeypatch.setenv("PATH", f"{self.tools}:/usr/bin:/bin")
        monkeypatch.delenv("JAVA_HOME", raising=False)

    def _program(self, name: str, text: str) -> None:
        (self.tools / name).write_text(text)
        (self.tools / name).chmod(0o755)

    def maven_ends_with(self, ending: str) -> None:
        """Let Maven run this shell text last."""
        self._program("mvn", MAVEN.format(calls=self._calls, ending=ending))

    def command(self) -> list[str]:
        return kafka_streams_build.command(self.project, self.schemas, self.local)

    @property
    def calls(self) -> int:
        return len(self._calls.read_text().split()) if self._calls.exists() else 0


@pytest.fixture
def ground(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ground:
    return Ground(tmp_path, monkeypatch)


def test_it_is_built_once(ground: Ground) -> None:
    command = ground.command()

    assert ground.command() == command
    assert ground.calls == 1
    jar, libs = command[command.index("-cp") + 1].split(":")
    assert Path(jar).is_file()
    assert Path(libs).parent.is_dir()
    assert command[0] == str(ground.tools / "java")
    assert command[-1] == kafka_streams_build.MAIN_CLASS


@pytest.mark.parametrize("changed", ["source", "schema"])
def test_a_change_of_what_it_is_made_from_is_built_anew(ground: Ground, changed: str) -> None:
    """A measured program must be the one whose sources lie beside it."""
    command = ground.command()
    path: Path = getattr(ground, changed)
    path.write_text("changed")

    assert ground.command() != command
    assert ground.calls == 2


def test_a_failed_build_is_told_and_made_again(ground: Ground) -> None:
    ground.maven_ends_with("echo '[ERROR] no such symbol'; exit 1")
    with pytest.raises(LocalServerError, match=r"(?s)could not build the Kafka Streams peer\..*no such symbol") as told:
        ground.command()
    ground.maven_ends_with("")

    assert told.value.exit_code == 1
    assert Path(ground.command()[-2].split(":")[0]).is_file()


@pytest.mark.parametrize(("tool", "sentence"), [("mvn", "Maven .* was not found"), ("java", "Java 17 or newer was")])
def test_a_missing_tool_is_named(ground: Ground, monkeypatch: pytest.MonkeyPatch, tool: str, sentence: str) -> None:
    monkeypatch.setenv("PATH", str(ground.tools))
    (ground.tools / tool).unlink()

    with pytest.raises(MissingToolError, match=sentence):
        ground.command()


def test_what_is_built_needs_no_maven(ground: Ground) -> None:
    """A second run works without network."""
    command = ground.command()
    (ground.tools / "mvn").unlink()

    assert ground.command() == command
