"""Small record batches with everything that a statistic may look at."""

import numpy as np
import pyarrow as pa
import pytest

from yt8m_data.schema import ORDER, Feature, Schema

CLASSES = 7
FEATURES = (Feature("rgb", 3), Feature("audio", 2))


class Batches:
    """Builds batches of video- and frame-level records from lists of labels."""

    num_classes = CLASSES
    video_schema = Schema("video", "id", "labels", FEATURES, CLASSES)
    frame_schema = Schema("frame", "id", "labels", FEATURES, CLASSES)

    def video(self, labels, seed=0, ids=None, decades=0, more=()):
        """Features in steps of 1/16, whose sums are exact; with `decades` they are rounded, and of sizes so many powers of ten apart."""
        random = np.random.default_rng(seed)
        columns = self._first(labels, ids)
        for feature in FEATURES:
            values = random.integers(-100, 100, len(labels) * feature.size).astype(np.float32) / 16
            if decades:
                values *= 10 ** random.uniform(-decades / 2, decades / 2, len(values)).astype(np.float32)
            columns.append(pa.FixedSizeListArray.from_arrays(pa.array(values), feature.size))
        return self._batch(columns, self.video_schema, more)

    def frame(self, labels, lengths=None, seed=0, ids=None, more=()):
        """Random codes; by default the records have 0, 1, 2 ... 4 frames and again."""
        random = np.random.default_rng(seed)
        lengths = [i % 5 for i in range(len(labels))] if lengths is None else lengths
        columns = self._first(labels, ids)
        for feature in FEATURES:
            frames = [[random.bytes(feature.size) for _ in range(length)] for length in lengths]
            columns.append(pa.array(frames, self.frame_schema.arrow.field(feature.name).type))
        return self._batch(columns, self.frame_schema, more)

    def of(self, kind, labels, **options):
        """Build a batch of either kind, with the columns that slices need."""
        more = (
            pa.array([(i % 3) << 32 | i for i in range(len(labels))], pa.int64()),
            pa.array([(None, b"noise", b"interpolate")[i % 3] for i in range(len(labels))], pa.binary()),
        )
        return (self.video if kind == "video" else self.frame)(labels, more=more, **options)

    def schema(self, kind):
        return self.video_schema if kind == "video" else self.frame_schema

    @staticmethod
    def _first(labels, ids):
        ids = [b"%d" % i for i in range(len(labels))] if ids is None else ids
        return [pa.array(ids, pa.binary()), pa.array(labels, pa.list_(pa.int32()))]

    @staticmethod
    def _batch(columns, schema, more):
        batch = pa.RecordBatch.from_arrays(columns, schema=schema.arrow)
        for name, column in zip((ORDER, "aug_method"), more, strict=False):
            batch = batch.append_column(name, column)
        return batch


@pytest.fixture(scope="session")
def batches():
    return Batches()
