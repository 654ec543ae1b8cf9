import gc

import google_crc32c
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from yt8m_data import codec, shard_file, tfrecord
from yt8m_data.errors import DataError
from yt8m_data.shard_file import TFRECORD, Form, is_whole, open_shard, rows_at_a_time
from yt8m_data.synthetic import SyntheticSpec, batches

FORMS = [TFRECORD, Form("tfrecord", "gzip"), Form("parquet"), Form("parquet", "gzip"), Form("arrow")]
SPECS = {kind: SyntheticSpec(kind, 50, 30, max_frames=8) for kind in ("video", "frame")}


def written(path, kind, form, cuts=()):
    spec = SPECS[kind]
    [batch] = batches(spec)
    with open_shard(str(path), spec.schema, spec.schema.arrow, form) as writer:
        for start, stop in zip([0, *cuts], [*cuts, 50], strict=True):
            writer.write(batch.slice(start, stop - start))
    return batch, writer.entry


def read(path, kind, form):
    if form.format == "parquet":
        return pq.read_table(path)
    if form.format == "arrow":
        return pa.ipc.open_file(str(path)).read_all()
    with open(path, "rb") as stream:
        return pa.Table.from_batches([codec.decode(block, SPECS[kind].schema).batch for block in tfrecord.read(stream, str(path))])


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("form", FORMS)
def test_a_shard_holds_its_rows_and_its_entry_tells_of_them(kind, form, tmp_path):
    path = tmp_path / f"x{form.suffix}"
    batch, entry = written(path, kind, form, cuts=(0, 7, 30))
    assert read(path, kind, form).to_pylist() == batch.to_pylist()
    data = path.read_bytes()
    assert (entry["name"], entry["records"], entry["bytes"]) == (path.name, 50, len(data))
    assert entry["crc32c"] == f"{google_crc32c.value(data):08x}"
    labels = batch.column("labels").to_pylist()
    assert entry["label_counts"] == {str(k): n for k in range(30) if (n := sum(k in each for each in labels))}
    assert entry.get("frames") == (sum(map(len, batch.column("rgb").to_pylist())) if kind == "frame" else None)
    assert is_whole(str(path), entry)


@pytest.mark.parametrize("form", FORMS)
def test_how_rows_arrive_does_not_show(form, tmp_path, monkeypatch):
    monkeypatch.setattr(shard_file, "rows_at_a_time", lambda _: 11)
    contents = []
    for number, cuts in enumerate([(), (1, 2, 3), (22,), (11, 33, 44)]):
        written(tmp_path / str(number), "video", form, cuts)
        contents.append((tmp_path / str(number)).read_bytes())
    assert len(set(contents)) == 1


def test_a_damaged_shard_is_not_whole(tmp_path):
    path = tmp_path / "x.tfrecord"
    _, entry = written(path, "video", TFRECORD)
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    assert not is_whole(str(path), entry)
    path.write_bytes(data[:-1])
    assert not is_whole(str(path), entry)
    path.unlink()
    assert not is_whole(str(path), entry)


def write_and_fail(path, form):
    spec = SPECS["video"]
    with open_shard(str(path), spec.schema, spec.schema.arrow, form) as writer:
        writer.write(next(batches(spec)))
        raise RuntimeError("stop")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("form", FORMS)
def test_nothing_appears_where_writing_fails(form, tmp_path):
    with pytest.raises(RuntimeError, match="stop"):
        write_and_fail(tmp_path / "x", form)
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_forms_and_sizes():
    with pytest.raises(DataError, match="arrow shards cannot be compressed by 'gzip': leave out --compress gzip"):
        Form("arrow", "gzip")
    sizes = [rows_at_a_time(SPECS[kind].schema) for kind in ("video", "frame")]
    assert np.all([1 <= size <= 4096 for size in sizes])
    assert sizes[0] > 10 * sizes[1]
