"""How `stats` reads shards: features are summed up where they lie, with the same result as from columns, and bad records are found."""

import io

import numpy as np
import pytest
import tensorflow as tf

from beam_jobs.stats import CountShard
from beam_jobs.transforms import ReadShard
from yt8m_data import codec, sums, tfrecord
from yt8m_data.schema import sniff
from yt8m_data.statistics import Statistics, accumulators
from yt8m_data.synth import write
from yt8m_data.synthetic import SyntheticSpec


def counter_of(schema, share: float = 1.0, chosen: dict | None = None) -> CountShard:
    nothing = Statistics(schema, accumulators(schema, True, chosen or {}))
    counting = CountShard(ReadShard(schema, True, None, False), nothing, share)
    counting.start_bundle()
    return counting


def blocks_of(records: list[bytes], block_bytes: int = 1 << 20):
    stream = io.BytesIO()
    tfrecord.write(stream, records)
    stream.seek(0)
    return tfrecord.read(stream, "shard", block_bytes)


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sums")
    made = write(SyntheticSpec("video", 400, seed=3), str(folder), 1)
    with open(folder / made["shards"][0]["name"], "rb") as stream:
        return [block.record(row) for block in tfrecord.read(stream, "made") for row in range(len(block))]


@pytest.fixture(scope="module")
def schema(records, tmp_path_factory):
    path = tmp_path_factory.mktemp("one") / "a.tfrecord"
    with open(path, "wb") as stream:
        tfrecord.write(stream, records)
    return sniff(str(path))


@pytest.mark.parametrize("block_bytes", [60_000, 1 << 20])
def test_decoded_sums_are_those_of_the_columns(records, schema, block_bytes):
    for block in blocks_of(records, block_bytes):
        whole = codec.decode(block, schema)
        counting = counter_of(schema)
        summed = counting.decode(block)
        assert summed.batch.schema.names == ["id", "labels"]
        assert summed.batch.equals(whole.batch.select(["id", "labels"]))
        assert summed.indices.tolist() == whole.indices.tolist()
        assert set(counting.sums) == {feature.name for feature in schema.features}
        for feature in schema.features:
            values = whole.batch.column(feature.name).flatten().to_numpy().reshape(-1, feature.size)
            for one, other in zip(counting.sums[feature.name], sums.of_matrix(values), strict=True):
                np.testing.assert_array_equal(one, other)


def spoiled(record: bytes, how: str) -> bytes:
    example = tf.train.Example.FromString(record)
    values = example.features.feature["mean_audio"].float_list.value
    if how == "not finite":
        values[1] = np.nan
    elif how == "size":
        del values[-1]
    elif how == "label":
        example.features.feature["labels"].int64_list.value.append(1 << 40)
    return example.SerializeToString(deterministic=True)


@pytest.mark.parametrize("how", ["not finite", "size", "label"])
def test_a_block_with_a_bad_record_is_decoded_to_columns(records, schema, how):
    broken = [*records[:7], spoiled(records[7], how), *records[8:20]]
    for block in blocks_of(broken):
        whole, counting = codec.decode(block, schema), counter_of(schema)
        summed = counting.decode(block)
        assert not counting.sums
        assert summed.batch.equals(whole.batch)
        assert [bad.kind for bad in summed.bad] == [bad.kind for bad in whole.bad] == [how]


def test_records_laid_out_otherwise_are_summed_as_well(records, schema):
    """The bytes of one are re-written, and stand behind the block."""
    odd = records[3] + b"\x0a\x00"  # a second, empty, run of the features: legal, and no writer writes it
    for block in blocks_of([*records[:3], odd, *records[4:30]]):
        whole, counting = codec.decode(block, schema), counter_of(schema)
        assert counting.decode(block).indices.tolist() == whole.indices.tolist()
        assert not whole.bad
        for feature in schema.features:
            values = whole.batch.column(feature.name).flatten().to_numpy().reshape(-1, feature.size)
            np.testing.assert_array_equal(counting.sums[feature.name].low, values.min(axis=0))
            np.testing.assert_allclose(counting.sums[feature.name].squares, (values.astype(np.float64) ** 2).sum(axis=0), rtol=1e-5)


@pytest.mark.parametrize(("share", "chosen"), [(0.5, {}), (1.0, {"label_means": {}})], ids=["a sample", "means by label"])
def test_what_needs_the_features_gets_columns(records, schema, share, chosen):
    counting = counter_of(schema, share, chosen)
    assert [counting.decode(block).batch.schema for block in blocks_of(records[:5])] == [schema.arrow]
    assert not counting.sums
