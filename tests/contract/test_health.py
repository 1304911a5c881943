"""What probes and Prometheus see of a worker, over HTTP."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import aiohttp

from deploy.local.data_directory import free_port
from services.adapters.memory_log import MemoryLog
from services.engine.app import LIVE_SECONDS_MAX
from services.engine.log import OutgoingRecord
from services.pipeline import make_codec, make_worker, topic_counts
from services.settings import Settings
from tests import samples
from tests.support.app import reference_records, send_reference


async def _get(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url) as answer:
        return answer.status, await answer.text()


async def test_a_worker_is_ready_when_restored_live_while_it_turns_and_counts_what_is_committed(tmp_path: Path) -> None:
    """Kubernetes sends work after readyz, restarts on livez; a dashboard believes /metrics."""
    log, codec, port = MemoryLog(topic_counts()), make_codec(), free_port()
    send_reference(log, codec, reference_records())
    value = codec.encode("front-office.executions", samples.execution())
    log.send(
        [
            OutgoingRecord("front-office.executions", b"O1", value),
            OutgoingRecord("front-office.executions", b"O1", value),
        ]
    )
    app = make_worker(Settings(data_dir=str(tmp_path), web_port=port), log, codec=codec)
    task = asyncio.create_task(app.start())
    base = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            seen: list[int] = []
            while 200 not in seen:
                try:
                    seen.append((await _get(session, f"{base}/readyz"))[0])
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.01)
            assert seen[0] == 503, "not ready before every partition is restored"
            assert (await _get(session, f"{base}/livez"))[0] == 200
            exposed = ""
            while 'records_suppressed_total{cause="duplicate",service="capture"} 1.0' not in exposed:
                exposed = (await _get(session, f"{base}/metrics"))[1]
            assert 'posttrade_records_consumed_total{service="capture"} 2.0' in exposed
            assert 'posttrade_dead_letters_total{error_class="DECODE",service="capture"} 0.0' in exposed

            assert app.engine.coordinator is not None
            await app.engine.coordinator.stop()  # the loop turns no more
            app.engine.coordinator.turned_at = time.monotonic() - LIVE_SECONDS_MAX - 1
            assert (await _get(session, f"{base}/livez"))[0] == 503
    finally:
        await app.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_halted_service_is_live_not_ready_and_named(tmp_path: Path) -> None:
    """A supervisor must not start it again into the same wall, and whoever looks must see which service it is."""
    log, port = MemoryLog(topic_counts()), free_port()
    log.send(OutgoingRecord("front-office.executions", b"%d" % number, b"garbage") for number in range(600))
    app = make_worker(Settings(data_dir=str(tmp_path), web_port=port), log)
    task = asyncio.create_task(app.start())
    base = f"http://127.0.0.1:{port}"
    try:
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            status, shown = 0, dict[str, object]()
            while shown != {"ok": False, "halted": ["capture"]}:
                try:
                    status, text = await _get(session, f"{base}/readyz")
                    shown = json.loads(text)
                except aiohttp.ClientConnectionError:
                    await asyncio.sleep(0.01)
            assert status == 503
            assert (await _get(session, f"{base}/livez"))[0] == 200
            assert 'posttrade_service_halted{service="capture"} 1.0' in (await _get(session, f"{base}/metrics"))[1]
    finally:
        await app.stop()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
