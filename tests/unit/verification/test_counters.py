"""The counters of the workers against the topics: the names are those of the real exposition."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from services.engine.metrics import Metrics
from services.engine.work import Tally
from services.pipeline import EXCEPTIONS, SERVICES
from services.settings import Settings
from services.verification import Decode, verify
from tests.support.snapshot_world import SnapshotWorld

WRONG = 'posttrade_exceptions_opened_total{reason="INSTRUMENT_MISSING",service="enrichment"}'


def _counters(world: SnapshotWorld, decode: Decode) -> Mapping[str, float]:
    """What a worker that did the whole day by itself would show."""
    metrics = Metrics(version="test")
    for service in SERVICES:
        stage = service.make_stage(Settings())
        metrics.register(service.name, inputs=service.inputs, outputs=service.outputs, causes=stage.suppress_causes)
        metrics.count(service.name, _tally(world, decode, service.name, service.outputs), now_us=0)
    return {
        sample.name + "{" + ",".join(f'{name}="{text}"' for name, text in sorted(sample.labels.items())) + "}": value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        for value in [sample.value]
    }


def _tally(world: SnapshotWorld, decode: Decode, service: str, outputs: tuple[str, ...]) -> Tally:
    tally = Tally()
    for topic in outputs:
        tally.produced[topic] = len(world.records[topic]) if topic.startswith(("trades.", "confirm", "settle")) else 0
    own = [found for entry in world.records[EXCEPTIONS] if (found := decode(EXCEPTIONS, entry.value))]
    tally.produced[EXCEPTIONS] = sum(found["service"] == service for found in own)
    tally.exceptions = Counter(
        found["reason"] for found in own if found["service"] == service and found["status"] == "OPEN"
    )
    letters = [dict(entry.headers) for entry in world.records["dead-letters"]]
    tally.dead_letters = Counter(
        (letter["err.class"] or b"").decode() for letter in letters if letter["err.stage"] == service.encode()
    )
    del tally.produced["dead-letters"], tally.produced["dead-letters.resolved"]
    return tally


def test_true_counters_are_sound_and_any_other_is_told(troubled: SnapshotWorld, decode: Decode) -> None:
    """Every series is compared, those at 0 too; each that is one off is named."""
    counters = _counters(troubled, decode)
    report = verify(replace(troubled, counters=counters), decode)
    found = next(finding for finding in report.findings if finding.invariant == "V9")
    assert (found.breaks, found.judged) == ((), True)
    assert found.checked > 100
    wrong = {**counters, WRONG: counters[WRONG] + 1}
    told = [finding for finding in verify(replace(troubled, counters=wrong), decode).findings if finding.break_count]
    assert [finding.invariant for finding in told] == ["V9"]
    assert told[0].breaks[0].startswith(WRONG)
