"""What the measured programs need, built once under .local/bench."""

from __future__ import annotations

from tests.bench import kafka_streams_build


def kafka_streams() -> list[str]:
    """The command that starts the Kafka Streams peer; followed by `--threads N MEASURE SERVERS PREFIX`.

    Raises LocalServerError with a sentence that says what to do.
    """
    return kafka_streams_build.command()
