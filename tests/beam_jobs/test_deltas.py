"""Deltas by a pipeline: those that the kernel selects in memory, for any number of workers."""

import numpy as np
import pytest

from beam_jobs import deltas as job
from beam_jobs import inputs, runners
from yt8m_data import codec, deltas, tfrecord
from yt8m_data.errors import DataError


@pytest.mark.parametrize("workers", [1, 2])
def test_the_job_equals_the_kernel(made, tmp_path, workers):
    source = inputs.open_input([str(made / "*.tfrecord")])
    batches = []
    for path in source.files:
        with open(path, "rb") as stream:
            batches += [codec.decode(block, source.schema).batch for block in tfrecord.read(stream, path)]
    counts = np.zeros(30, np.int64)
    for batch in batches:
        for labels in batch.column("labels").to_pylist():
            counts[list(set(labels))] += 1
    selection = deltas.plan(counts, 60, 50, seed=2)
    found = job.collect(source, selection, runners.Engine(workers=workers), tmp_path).deltas
    assert found.equals(deltas.select(selection, batches, source.schema))
    assert found.num_rows == 50
    assert set(found.column("label").to_pylist()) == set(np.flatnonzero(counts > 60).tolist())
    assert not list(tmp_path.iterdir())


def test_no_donor_with_a_neighbour(made, tmp_path):
    source = inputs.open_input([str(made / "*.tfrecord")])
    alone = deltas.Selection(np.full(30, 1), np.full(30, 1e-9))
    with pytest.raises(DataError, match="no two videos share a frequent label"):
        job.collect(source, alone, runners.Engine(), tmp_path)
