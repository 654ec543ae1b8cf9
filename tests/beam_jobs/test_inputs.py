import pytest

from beam_jobs.inputs import Input, open_input
from yt8m_data.errors import BadRecord, DataError


def test_the_schema_is_sniffed_from_the_first_file_with_records(made, tmp_path):
    (tmp_path / "a.tfrecord").touch()
    files = sorted(made.glob("*.tfrecord"))
    source = open_input([str(tmp_path / "a.tfrecord"), *map(str, files)], num_classes=30)
    assert len(source.files) == 6
    assert source.files == sorted(source.files)
    assert [feature.name for feature in source.schema.features] == ["mean_rgb", "mean_audio"]
    assert source.bytes == sum(path.stat().st_size for path in files)


def test_the_number_of_classes(made):
    files = [str(made / "*.tfrecord")]
    assert open_input(files).schema.num_classes == 30, "of the manifest beside the shards"
    assert open_input(files, num_classes=99).schema.num_classes == 99


def test_files_that_are_all_empty(tmp_path):
    (tmp_path / "a.tfrecord").touch()
    with pytest.raises(DataError, match="all 1 files that match are empty"):
        open_input([str(tmp_path / "*")])


@pytest.mark.parametrize(("bad", "allowed"), [(1, True), (2, False)])
def test_the_share_of_bad_records_is_limited(made, bad, allowed):
    source = open_input([str(made / "*.tfrecord")], skip_bad=True, max_bad_fraction=0.01)
    records = [BadRecord("f", number, 0, "crc", "wrong") for number in range(bad)]
    assert isinstance(source, Input)
    if allowed:
        source.check_bad(records, 100 - bad)
    else:
        with pytest.raises(
            DataError, match=r"2 of 100 records are bad, more than --max-bad-fraction 0.01 allows; the first is f: record 0"
        ):
            source.check_bad(records, 100 - bad)


def test_an_unreadable_first_file_ends_the_job_only_where_bad_records_do(made, tmp_path):
    (tmp_path / "a.tfrecord").write_bytes(b"no record" * 20)
    (tmp_path / "b.tfrecord").write_bytes(next(made.glob("*.tfrecord")).read_bytes())
    files = [str(tmp_path / "a.tfrecord"), str(tmp_path / "b.tfrecord")]
    with pytest.raises(DataError, match=r"a\.tfrecord: record 0 at byte 0"):
        open_input(files)
    assert open_input(files, num_classes=30, skip_bad=True).schema.num_classes == 30
    with pytest.raises(DataError, match=r"a\.tfrecord: record 0 at byte 0"):
        open_input(files[:1], skip_bad=True)
