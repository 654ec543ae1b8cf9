import pytest

from trainers import bench_input as module
from trainers.bench_input import bench_input
from yt8m_data.errors import DataError


@pytest.mark.parametrize(("kind", "frames"), [("made", None), ("made_frames", None), ("made_frames", 3)])
def test_rates_go_together(kind, frames, request):
    data = request.getfixturevalue(kind)
    told = bench_input([data.train], batch_size=32, frames=frames, seconds=0.2)
    assert told["records_per_second"] > 0
    assert told["disk_megabytes_per_second"] > 0
    assert told["share_of_disk"] == pytest.approx(told["megabytes_per_second"] / told["disk_megabytes_per_second"], abs=0.1, rel=0.2)


def test_a_rate_is_an_amount_over_its_time():
    times = iter([0.0, 1.0, 2.0, 2.5, 2.5])
    assert module._rate(iter([10, 20, 30, 40]), 2.2, lambda: next(times)) == 60 / 2.5
    times = iter([0.0, 1.0, 4.0])
    assert module._rate(iter([10]), 2.2, lambda: next(times)) == 10 / 4


def test_files_that_are_not_there():
    with pytest.raises(DataError, match="no file matches"):
        bench_input(["nowhere*"])
