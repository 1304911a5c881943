"""Where the reference data of an explanation comes from: the shipped files, further folders, or the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from services.adapters.reference_files import SHIPPED_DIRECTORY, topic_of
from services.commands.cluster import Cluster
from services.commands.failure import BadRequest
from services.commands.reference import read_directories
from services.commands.scan import read_all
from services.domain.errors import DecodeError
from services.domain.reference import REFERENCE_KINDS, ReferenceData, ReferenceRecord


def reference_of(cluster: Cluster, *, folders: Sequence[Path], from_cluster: bool) -> ReferenceData:
    """The reference data to explain with. Raises BadRequest, or LogError when the cluster does not answer."""
    if from_cluster and folders:
        raise BadRequest("--cluster and --reference exclude each other: load the folder, or leave --cluster out")
    return _on_cluster(cluster) if from_cluster else _in_files(folders)


def _in_files(folders: Sequence[Path]) -> ReferenceData:
    """The shipped rows, and the folders over them in their order, as loading them in turn would leave it."""
    data = ReferenceData()
    for rows in read_directories([SHIPPED_DIRECTORY, *folders]).values():
        for row in rows:
            data.put(row)
    return data


def _on_cluster(cluster: Cluster) -> ReferenceData:
    """What every worker of the cluster holds: the last row under each key; rows that nobody can read are left out."""
    kinds = {topic_of(kind): kind for kind in REFERENCE_KINDS}
    data = ReferenceData()
    with cluster.log() as log:
        for record in read_all(log, kinds):
            kind, key = kinds[record.topic], "" if record.key is None else record.key.decode(errors="replace")
            try:
                row = None if record.value is None else cluster.codec.decode(record.topic, record.value)
            except DecodeError:
                row = None
            if isinstance(row, ReferenceRecord):
                data.put(row)
            else:
                data.remove(kind, key)
    return data
