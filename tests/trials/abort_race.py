"""How often an abort that follows the first produce at once ends in a fatal error.

`python -m tests.trials.abort_race` commits a transaction, opens the next, produces one record and aborts, a thousand
times for each row: with a flush before the abort, without one, and over few and many partitions (the more, the longer
the marks of the commit before are being written).
"""

from __future__ import annotations

import random
import time

from confluent_kafka import KafkaException

from deploy.local.kafka_broker import LocalKafka
from tests.support.broker import create_topics
from tests.trials.clients import SECONDS_MAX, new_name, table, transactional_producer

TRIES = 1000
PAUSE_SECONDS_MAX = 0.005
SEED = 7


def measure(bootstrap_servers: str, *, partitions: int, flush: bool) -> tuple[int, str]:
    """How many of the aborts failed, and how."""
    topic = new_name("abort")
    create_topics(bootstrap_servers, topic, partitions=partitions)
    producer = transactional_producer(bootstrap_servers, topic, linger_ms=0)
    chance = random.Random(SEED)
    failed, how = 0, "–"
    for _ in range(TRIES):
        producer.begin_transaction()
        for partition in range(partitions):
            producer.produce(topic, b"x", partition=partition)
        producer.commit_transaction(SECONDS_MAX)
        producer.begin_transaction()
        producer.produce(topic, b"x", partition=0)
        if flush:
            producer.flush(SECONDS_MAX)
        else:
            time.sleep(chance.uniform(0, PAUSE_SECONDS_MAX))  # the moment of the abort is what is tried
        try:
            producer.abort_transaction(SECONDS_MAX)
        except KafkaException as failure:
            error = failure.args[0]
            failed, how = failed + 1, f"{error.code()} {error.name()}, fatal: {error.fatal()}"
            producer = transactional_producer(bootstrap_servers, topic, linger_ms=0)
    return failed, how


def main() -> None:
    """Run on a broker of its own."""
    rows = []
    with LocalKafka() as kafka:
        for partitions in (4, 40):
            for flush in (False, True):
                failed, how = measure(kafka.bootstrap_servers, partitions=partitions, flush=flush)
                rows.append([partitions, "yes" if flush else "no", f"{failed} of {TRIES}", how])
    table(["partitions", "flush before the abort", "failed", "how"], rows)


if __name__ == "__main__":
    main()
