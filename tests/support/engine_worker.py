"""A worker process of tests/support/engine_stages on Kafka, through the real Faust app and its real runner.

python -m tests.support.engine_worker BOOTSTRAP_SERVERS PREFIX SLOT DATA_DIR [WEB_PORT]

Snapshots are taken at once, so that restarts use them.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from services.adapters.disk_files import DiskFiles
from services.adapters.kafka_log import KafkaLog
from services.adapters.kafka_timeouts import Timeouts
from services.commands.worker import EndLimit, run_worker
from services.engine import snapshots
from services.engine.app import Engine, make_app
from services.engine.metrics import Metrics
from tests.support.engine_stages import JsonCodec, counting, joining

SHORT_TIMEOUTS = Timeouts(session_ms=6_000, transaction_ms=5_000, message_ms=4_000, request_ms=4_000)
"""The shortest session a broker takes by default: tests kill often."""


def main(bootstrap_servers: str, prefix: str, slot: str, data_dir: str, web_port: str = "") -> int:
    """Run until SIGTERM; metrics and health are served where a port is given."""
    snapshots.LOOK_SECONDS, snapshots.CHANGED_SECONDS_MAX, snapshots.RETRY_SECONDS = 0.1, 0.5, 1.0
    logging.basicConfig(level=logging.WARNING)
    log = KafkaLog(bootstrap_servers, prefix=prefix, client_settings={"log_level": 0}, timeouts=SHORT_TIMEOUTS)
    engine = Engine(
        log=log,
        codec=JsonCodec(),
        services=[counting(), joining()],
        reference_topics={},
        metrics=Metrics(version="test"),
        transactional_id=f"worker.{slot}",
        files=DiskFiles(Path(data_dir)),
    )
    app = make_app(
        engine,
        app_id="test",
        web_host="127.0.0.1",
        web_port=int(web_port or 1),
        data_dir=data_dir,
        web_enabled=bool(web_port),
    )
    code = run_worker(app, EndLimit())
    log.close()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
