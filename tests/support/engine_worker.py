"""A worker process of tests/support/engine_stages on Kafka, through the real Faust app and its real runner.

python -m tests.support.engine_worker BOOTSTRAP_SERVERS PREFIX SLOT DATA_DIR
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from services.adapters import kafka_log
from services.adapters.disk_files import DiskFiles
from services.commands.worker import run_worker
from services.engine.app import Engine, make_app
from services.engine.metrics import Metrics
from tests.support.engine_stages import JsonCodec, counting, joining


def main(bootstrap_servers: str, prefix: str, slot: str, data_dir: str) -> int:
    """Run until SIGTERM."""
    kafka_log.SESSION_TIMEOUT_MS = 6_000  # the least a broker takes by default: a test kills often
    kafka_log.TRANSACTION_TIMEOUT_MS = 5_000
    kafka_log.MESSAGE_TIMEOUT_MS = 4_000
    logging.basicConfig(level=logging.WARNING)
    log = kafka_log.KafkaLog(bootstrap_servers, prefix=prefix)
    engine = Engine(
        log=log,
        codec=JsonCodec(),
        services=[counting(), joining()],
        reference_topics={},
        metrics=Metrics(version="test"),
        transactional_id=f"worker.{slot}",
        files=DiskFiles(Path(data_dir)),
    )
    app = make_app(engine, app_id="test", web_host="127.0.0.1", web_port=1, data_dir=data_dir, web_enabled=False)
    code = run_worker(app)
    log.close()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
