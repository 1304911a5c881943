"""A production worker under observation: `python -m tests.chaos.worker DIRECTORY SLOT [CONTROL]`.

What runs is `services.pipeline.make_worker` on `services.adapters.kafka_log`. The harness adds shorter timeouts,
failpoints around the log, stages that choke on marked records, and schemas of its own; with a control, its sabotage.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from services.adapters.avro_codec import AvroCodec
from services.adapters.kafka_timeouts import Timeouts
from services.adapters.topic_codec import FormatCodec
from services.commands import logs
from services.commands.cluster import client_settings
from services.commands.worker import EndLimit, run_worker
from services.engine import snapshots
from services.engine.app import App
from services.engine.log import Log
from services.engine.member import HostedService
from services.pipeline import make_log, make_worker
from services.settings import load_settings
from services.topics import load_topics
from tests.chaos.events import Teller
from tests.chaos.failpoints import Failpoints, watched
from tests.chaos.places import Places
from tests.chaos.poison import PoisonedStage
from tests.support import sabotage

SESSION_TIMEOUT_MS = 6_000
"""The least that a broker takes by default; half of production's."""
TRANSACTION_TIMEOUT_MS = 5_000
"""Below the session timeout, as in production."""
MESSAGE_TIMEOUT_MS = 4_000
"""Below the transaction timeout, as the client demands."""


def main(directory: str, slot: str, control: str = "") -> int:
    """Run until SIGTERM, SIGKILL or trouble; the exit codes are those of `posttrade worker`."""
    signal.signal(signal.SIGTERM, _end_at_once)  # until the event loop has its own handlers there is nothing to finish
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # where it stands, for whoever finds it stuck
    snapshots.CHANGES_MIN, snapshots.CHANGED_SECONDS_MAX, snapshots.RETRY_SECONDS = 200, 10.0, 5.0
    places = Places(Path(directory))
    number = int(slot)
    teller = Teller(places.socket_address, number)
    teller.tell("started")
    settings = msgspec.structs.replace(load_settings(os.environ), worker_slot=number)
    logs.configure(settings.log_level)
    timeouts = Timeouts(
        session_ms=SESSION_TIMEOUT_MS,
        transaction_ms=TRANSACTION_TIMEOUT_MS,
        message_ms=MESSAGE_TIMEOUT_MS,
        request_ms=MESSAGE_TIMEOUT_MS,
    )
    inner = make_log(settings, client_settings=client_settings(settings), timeouts=timeouts)
    log: Log = sabotage.apply(control, inner) if control else inner
    log = watched(log, Failpoints(places.arm_file(number), teller), teller)
    codec = FormatCodec(load_topics(), AvroCodec(places.schemas))
    app = make_worker(settings, log, codec=codec, web_enabled=False)
    _choke(app, teller, control)
    limit = EndLimit()
    code = run_worker(app, limit)
    limit.start(code)
    inner.close()
    return code


def _end_at_once(_number: int, _frame: Any) -> None:
    sys.exit(0)


def _choke(app: App, teller: Teller, control: str) -> None:
    """Wrap every stage before the engine starts."""
    services = sabotage.hosted(control, app.engine.services) if control else app.engine.services
    app.engine.services = [
        HostedService(PoisonedStage(service.stage, teller), service.inputs, service.outputs) for service in services
    ]


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
