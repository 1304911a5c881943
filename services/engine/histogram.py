"""A histogram that takes many observations at once.

The client's own takes a lock and walks its buckets for every observation: 1.3 µs each, eight of them for an order. A
batch's times are known together, so they are counted with one lock and a search in each: 0.2 µs.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class BulkHistogram(Collector):
    """A Prometheus histogram with one label; on the page it looks like the client's own."""

    def __init__(self, name: str, sentence: str, label: str, upper_bounds: Sequence[float]) -> None:
        """Name without suffix, help, label name, and the buckets' inclusive upper bounds, ascending, without +Inf."""
        self._name = name
        self._sentence = sentence
        self._label = label
        self._bounds = tuple(upper_bounds)
        self._texts = [*map(floatToGoString, self._bounds), "+Inf"]
        self._counts: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}
        self._lock = threading.Lock()  # the page may be asked for on another thread

    def register(self, value: str) -> None:
        """Have the label's value on the page from now on."""
        with self._lock:
            self._counts.setdefault(value, [0] * len(self._texts))
            self._sums.setdefault(value, 0.0)

    def observe_all(self, value: str, amounts: Iterable[float]) -> None:
        """Count every amount under a label value."""
        if value not in self._counts:
            self.register(value)
        bounds, counts, total = self._bounds, self._counts[value], 0.0
        with self._lock:
            for amount in amounts:
                counts[bisect_left(bounds, amount)] += 1
                total += amount
            self._sums[value] += total

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The page's samples; buckets are cumulative there."""
        family = HistogramMetricFamily(self._name, self._sentence, labels=[self._label])
        with self._lock:
            for value, counts in self._counts.items():
                below = 0
                buckets: list[tuple[str, float]] = []
                for text, count in zip(self._texts, counts, strict=True):
                    below += count
                    buckets.append((text, below))
                family.add_metric([value], buckets, self._sums[value])
        yield family
