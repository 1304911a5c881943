"""The jars of the local broker, fetched once from Maven Central by deploy/kafka/pom.xml.

They lie in .local/kafka/libs-<version>. The directory appears under that name only when it is complete, and its stamp
holds the digest of the pom it was made from: an interrupted download or a changed pom is fetched anew, anything else
needs neither Maven nor network.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

from deploy.local.maven import Maven
from deploy.local.tools import LocalServerError

REPOSITORY = Path(__file__).resolve().parents[2]
LOCAL = REPOSITORY / ".local"
"""Everything that is made on this machine and can be made again; not in version control."""
POM = REPOSITORY / "deploy" / "kafka" / "pom.xml"

_STAMP = ".complete"


def kafka_version(pom: Path = POM) -> str:
    """The Kafka version that the pom names in its property `kafka.version`."""
    version = ET.parse(pom).findtext("./{*}properties/{*}kafka.version")  # noqa: S314  # our own file
    if not version:
        raise LocalServerError(f"{pom} has no property kafka.version.")
    return version


def ensure_jars(pom: Path = POM, local: Path = LOCAL) -> Path:
    """The directory with all jars of the broker, fetched if need be. Safe to call from several processes at once.

    Raises:
        MissingToolError: jars are to be fetched and Maven or Java is missing.
        LocalServerError: Maven could not fetch them; the message ends with what it said.
    """
    libs = local / "kafka" / f"libs-{kafka_version(pom)}"
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()
    if _is_complete(libs, digest):
        return libs
    libs.parent.mkdir(parents=True, exist_ok=True)
    with (libs.parent / "libs.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_complete(libs, digest):  # another process may have fetched them while this one waited
            _fetch(pom, libs, digest)
    return libs


def _is_complete(libs: Path, digest: str) -> bool:
    try:
        return (libs / _STAMP).read_text() == digest
    except FileNotFoundError:
        return False


def _fetch(pom: Path, libs: Path, digest: str) -> None:
    """Fetch into a directory beside it, stamp that, and give it the final name in one step."""
    command = [
        "--strict-checksums", "--file", str(pom),
        "dependency:copy-dependencies", "-DincludeScope=runtime",
    ]  # fmt: skip
    maven = Maven.find()
    partial = libs.with_name(libs.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    print(
        f"Fetching Apache Kafka {kafka_version(pom)} from Maven Central (44 MB, once) ...", file=sys.stderr, flush=True
    )
    maven.run([*command, f"-DoutputDirectory={partial}"], purpose="fetch the Kafka jars")
    (partial / _STAMP).write_text(digest)
    shutil.rmtree(libs, ignore_errors=True)
    partial.rename(libs)
