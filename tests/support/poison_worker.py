"""A worker process of `capture` on Kafka, as it runs in production but for two executions that it cannot bear.

python -m tests.support.poison_worker BOOTSTRAP_SERVERS PREFIX DATA_DIR

Execution KILLS ends the process as a fault of the C library would. RAISES is a bug until `DATA_DIR/mended` exists.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from services.adapters.kafka_log import KafkaLog
from services.capture.process import CaptureStage
from services.commands.worker import EndLimit, run_worker
from services.pipeline import make_worker
from services.settings import Settings
from services.stage import Outcome, Received, State
from tests.support.engine_worker import SHORT_TIMEOUTS

KILLS = "E-KILLS"
RAISES = "E-RAISES"
MENDED = "mended"


def poison(mended: Path) -> None:
    """Make the stage unable to bear the two executions."""
    process = CaptureStage.process

    def poisoned(stage: CaptureStage, batch: Sequence[Received], state: State, now_us: int) -> list[Outcome]:
        names = [getattr(received.event, "execution_id", "") for received in batch]
        if KILLS in names:
            os.kill(os.getpid(), signal.SIGKILL)
        if RAISES in names and not mended.exists():
            raise ValueError("a bug of this release")
        return process(stage, batch, state, now_us)

    CaptureStage.process = poisoned  # type: ignore[method-assign,assignment]  # for the life of this process


def main(bootstrap_servers: str, prefix: str, data_dir: str) -> int:
    """Run until SIGTERM, or until the poison is met."""
    poison(Path(data_dir) / MENDED)
    log = KafkaLog(bootstrap_servers, prefix=prefix, timeouts=SHORT_TIMEOUTS)
    app = make_worker(Settings(data_dir=data_dir), log, services=["capture"], web_enabled=False)
    code = run_worker(app, EndLimit())
    log.close()
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
