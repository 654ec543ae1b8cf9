"""Statistics to report on: counted by the real accumulators over made records."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from yt8m_data.errors import BadRecord
from yt8m_data.report.html import Stage
from yt8m_data.schema import Feature, Schema
from yt8m_data.statistics import Statistics


def count(labels: Sequence[Sequence[int]], classes: int, frames: Sequence[int] | None = None, bad: int = 0) -> Statistics:
    """Count records with these labels (and so many frames: frame level) and features drawn at random."""
    random = np.random.default_rng(len(labels))
    kind = "video" if frames is None else "frame"
    schema = Schema(kind, "id", "labels", (Feature("rgb", 4), Feature("audio", 2)), classes)
    columns: dict[str, Any] = {"id": [b"%d" % at for at in range(len(labels))], "labels": labels}
    for feature in schema.features:
        if frames is None:
            columns[feature.name] = random.normal(size=(len(labels), feature.size)).astype(np.float32).tolist()
        else:
            columns[feature.name] = [[random.bytes(feature.size) for _ in range(number)] for number in frames]
    statistics = Statistics(schema)
    statistics.add(pa.RecordBatch.from_pydict(columns, schema=schema.arrow))
    statistics.bad = [BadRecord("shards/train0.tfrecord", at, 100 * at, "crc", "its checksum does not fit") for at in range(bad)]
    return statistics


@pytest.fixture(scope="session")
def counted() -> Callable[..., Statistics]:
    """The function `count`."""
    return count


@pytest.fixture(scope="session")
def stage() -> Callable[..., Stage]:
    """A stage of a report on what `count` counts: `stage("Videos", labels, classes, ...)`."""

    def make(name: str, *arguments: Any, **settings: Any) -> Stage:
        statistics = count(*arguments, **settings)
        return Stage(name, statistics.to_dict(), statistics.result("cooccurrence"))

    return make


@pytest.fixture(scope="session")
def zipfian() -> list[list[int]]:
    """Labels of 2,000 videos over 120 classes whose counts fall like 1 / rank; neighbouring classes come together."""
    random = np.random.default_rng(5)
    weight = 1 / np.arange(1, 121)
    first = random.choice(120, 2000, p=weight / weight.sum())
    return [sorted({int(label), int(label) ^ 1} if random.random() < 0.6 else {int(label)}) for label in first]
