"""Builds the Kafka Streams peer with Maven, once for each state of its sources.

It lies in .local/bench/kafka-streams/<digest>. The directory has that name only when the build is complete: an
interrupted build or a changed source is built anew, anything else needs neither Maven nor network.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from deploy.local.kafka_jars import LOCAL, REPOSITORY
from deploy.local.maven import Maven
from deploy.local.tools import find_java

PROJECT = REPOSITORY / "tests" / "bench" / "peers" / "kafka_streams"
SCHEMAS = REPOSITORY / "schemas" / "avro"
MAIN_CLASS = "posttrade.bench.Main"
JAVA_OPTIONS = (
    "-Xms512m",
    "-Xmx512m",
    # Avro makes objects only of classes it is told to trust: the ones it generated from our schemas.
    "-Dorg.apache.avro.SERIALIZABLE_PACKAGES=posttrade",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
)
_DIGEST_CHARACTERS = 16


def command(project: Path = PROJECT, schemas: Path = SCHEMAS, local: Path = LOCAL) -> list[str]:
    """What starts the program, to be followed by its own arguments; builds it first if need be.

    Safe to call from several processes at once.

    Raises:
        MissingToolError: Java is missing, or the program is to be built and Maven is missing.
        LocalServerError: Maven could not build it; the message ends with what it said.
    """
    java, place = find_java(), local / "bench" / "kafka-streams"
    built = place / _digest(project, schemas)
    if not built.is_dir():
        place.mkdir(parents=True, exist_ok=True)
        with (place / "build.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not built.is_dir():  # another process may have built it while this one waited
                _build(project, built)
    class_path = f"{built / 'kafka-streams-peer.jar'}:{built / 'libs'}/*"
    return [str(java), *JAVA_OPTIONS, "-cp", class_path, MAIN_CLASS]


def _build(project: Path, built: Path) -> None:
    partial = built.with_name(built.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    print("Building the Kafka Streams peer with Maven (half a minute, once) ...", file=sys.stderr, flush=True)
    arguments = ["--strict-checksums", "--file", str(project / "pom.xml"), f"-Doutput.directory={partial}", "package"]
    Maven.find().run(arguments, purpose="build the Kafka Streams peer")
    partial.rename(built)


def _digest(project: Path, schemas: Path) -> str:
    """Of all that the build is made from, names included."""
    digest = hashlib.sha256()
    for path in _sources(project, schemas):
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:_DIGEST_CHARACTERS]


def _sources(project: Path, schemas: Path) -> Iterator[Path]:
    yield project / "pom.xml"
    yield from sorted((project / "src").rglob("*.java"))
    yield from sorted(schemas.glob("*.avsc"))
