"""The simulation with the two small services of tests/support/engine_stages, whose outputs are recomputed from inputs.

A run takes a fraction of one of the pipeline, so that a crash can be tried at every single call.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from services.engine.member import HostedService, consumer_group
from services.engine.metrics import Metrics
from tests.sim import judge
from tests.sim.options import Options
from tests.sim.run import Simulation, World
from tests.sim.workload import Sending
from tests.support import engine_oracles
from tests.support.engine_stages import TOPICS, JsonCodec, counting, half, joining, said

_KEYS = 4


class Small(World):
    """Two services, and senders that say numbers and halves."""

    def __init__(self, messages: int = 12) -> None:
        self.codec = JsonCodec()
        self.metrics = Metrics(version="simulation")
        self._messages = messages
        self._hosted = [counting(), joining()]
        for service in self._hosted:
            stage = service.stage
            self.metrics.register(
                stage.name, inputs=service.inputs, outputs=service.outputs, causes=stage.suppress_causes
            )
        self.inputs = [(consumer_group(service.stage.name), service.inputs) for service in self._hosted]

    def topics(self, partitions: int) -> dict[str, int]:
        return dict.fromkeys(TOPICS, partitions)

    def services(self, options: Options) -> list[HostedService]:
        return self._hosted

    def prepare(self, simulation: Simulation) -> list[Sending]:
        rng = random.Random(f"work {simulation.options.seed}")
        return sorted(self._sendings(rng, simulation.options.work_seconds), key=lambda sending: sending.at)

    def _sendings(self, rng: random.Random, seconds: float) -> Iterator[Sending]:
        for number in range(self._messages):
            yield Sending(rng.uniform(0.0, seconds), (said(f"k{rng.randrange(_KEYS)}", number),))
        for number in range(self._messages // 2):
            for side in ("left", "right"):
                yield Sending(rng.uniform(0.0, seconds), (half(side, f"p{number}"),))

    def judge(self, simulation: Simulation) -> judge.Verdict:
        broker = simulation.broker
        breaks = []
        for check in (engine_oracles.check_counting, engine_oracles.check_joining):
            try:
                check(broker.committed_records)
            except AssertionError as error:
                breaks.append(str(error).splitlines()[0])
        if broker.is_open:
            breaks.append("a transaction is open")
        return judge.Verdict(breaks, "", sum(len(broker.committed_records(topic)) for topic in broker.topics()))
