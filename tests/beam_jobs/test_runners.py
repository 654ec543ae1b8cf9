import logging
import os
import pickle
import time

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import DirectOptions, GoogleCloudOptions, PipelineOptions, PortableOptions
from apache_beam.runners.worker import data_plane, statesampler
from apache_beam.transforms import userstate
from apache_beam.utils.counters import CounterFactory

from beam_jobs import doctor, runners
from beam_jobs.runners import Engine
from yt8m_data import cores
from yt8m_data.errors import DataError


def _fail(number):
    if number == 3:
        raise DataError("shard x: record 3 is bad (do this)")
    return number


def _crash(number):
    return 1 // (number - 3)


def _total(engine, function):
    def build(pipeline, _counter):
        return pipeline | beam.Create(range(6)) | beam.Map(function) | beam.CombineGlobally(sum)

    return runners.run(engine, "test", 0, None, build, lambda _: 0)


@pytest.mark.parametrize("workers", [1, 2])
def test_collect_returns_the_element(workers):
    assert _total(Engine(workers=workers), int) == 15


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_in_a_worker_comes_back_as_its_sentence(workers, caplog):
    with caplog.at_level(logging.CRITICAL), pytest.raises(DataError) as caught:
        _total(Engine(workers=workers), _fail)
    assert str(caught.value) == "shard x: record 3 is bad (do this)"


@pytest.mark.parametrize("workers", [1, 2])
def test_any_other_error_is_not_hidden(workers, caplog):
    with caplog.at_level(logging.CRITICAL), pytest.raises(Exception, match="division") as caught:
        _total(Engine(workers=workers), _crash)
    assert not isinstance(caught.value, DataError)


def test_small_inputs_stay_in_this_process():
    assert Engine().processes(1 << 20) == 1
    assert Engine().processes(1 << 40) == cores.available()
    assert Engine(workers=3).processes(1 << 20) == 3


def test_processes_share_the_cores(monkeypatch):
    monkeypatch.setattr(cores, "available", lambda: 8)
    assert Engine().threads(1 << 20) == 8
    assert Engine().threads(1 << 40) == 1
    assert [Engine(workers=number).threads(1 << 20) for number in (2, 3, 5, 20)] == [4, 2, 1, 1]


def test_workers_are_other_processes(tmp_path):
    def build(pipeline, _counter):
        return pipeline | beam.Create(range(8)) | beam.Map(lambda _: os.getpid()) | beam.combiners.ToList()

    inside = set(runners.run(Engine(workers=1), "test", 0, None, build, lambda _: 0))
    outside = set(runners.run(Engine(workers=2), "test", 0, None, build, lambda _: 0))
    assert inside == {os.getpid()}
    assert os.getpid() not in outside


@pytest.mark.parametrize(
    ("engine", "message"),
    [
        (Engine("cloud"), "there is no runner 'cloud': choose one of local, prism, portable, flink, spark, dataflow"),
        (Engine(workers=-1), "-1 workers are not possible"),
    ],
)
def test_wrong_engines_are_refused_before_the_start(engine, message):
    with pytest.raises(DataError, match=message):
        _total(engine, int)


def test_a_runner_says_what_it_lacks(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    with pytest.raises(DataError, match="needs Java"):
        _total(Engine("flink"), int)
    monkeypatch.setattr(doctor, "_version", lambda package: None)
    with pytest.raises(DataError, match=r"pip install 'yt8m-data\[gcp\]'"):
        _total(Engine("dataflow"), int)


def test_options_behind_the_dashes_reach_beam():
    pipeline = runners._local_pipeline(Engine(options=["--job_name=mine"]), 1)
    assert pipeline._options.get_all_options()["job_name"] == "mine"


@pytest.mark.parametrize("engine", [Engine(workers=2), Engine("portable")], ids=["local", "portable"])
def test_no_timer_empties_what_is_being_sent_to_workers(engine, monkeypatch):
    """Beam's timed buffer takes no lock, and loses what is written while it is emptied."""
    made, create = [], data_plane.ClosableOutputStream.create

    def recorded(*arguments):
        made.append(create(*arguments))
        return made[-1]

    monkeypatch.setattr(data_plane.ClosableOutputStream, "create", staticmethod(recorded))

    def build(pipeline, _counter):
        return pipeline | beam.Create(range(10)) | beam.Reshuffle() | beam.CombineGlobally(sum)

    assert runners.run(engine, "test", 0, None, build, lambda _: 0) == 45
    assert made
    assert not [stream for stream in made if isinstance(stream, data_plane.TimeBasedBufferingClosableOutputStream)]


def test_no_bundle_waits_long_for_beams_sampling_thread():
    sampler = statesampler.StateSampler("bundle", CounterFactory())
    assert sampler.sampling_period_ms == 10
    sampler.start()
    time.sleep(0.3)  # the period has grown by now
    begun = time.perf_counter()
    sampler.stop()
    assert time.perf_counter() - begun < 0.1


def test_options_of_the_user_come_after_the_preset():
    options = runners.service_options(Engine("portable", options=["--job_endpoint=host:1", "--mine=x"]))
    assert PipelineOptions(options).view_as(PortableOptions).job_endpoint == "host:1"
    assert options[-1] == "--mine=x"
    assert "--no_save_main_session" in options


@pytest.mark.parametrize("accounted", [4, 6])
def test_records_that_do_not_arrive_are_an_error(accounted):
    def build(pipeline, counter):
        return pipeline | beam.Create([5]) | beam.Map(lambda n, c: c.add(n) or n, counter)

    assert runners.run(Engine(), "test", 0, None, build, lambda n: n) == 5
    with pytest.raises(DataError, match=f"5 records were read and {accounted} arrived"):
        runners.run(Engine(), "test", 0, None, build, lambda _: accounted)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_bundles_hand_back_is_gathered_whole(workers):
    def build(pipeline, _counter):
        numbers = pipeline | beam.Create(range(50)) | beam.Reshuffle()
        return [numbers, numbers | beam.Map(str)]

    def gather(numbers, texts):
        return sorted(numbers), sorted(texts)

    found = runners.run(Engine(workers=workers), "test", 0, None, build, lambda _: 0, gather)
    assert found == (list(range(50)), sorted(map(str, range(50))))


def test_one_of_several_results_that_does_not_arrive_is_an_error():
    def build(pipeline, _counter):
        numbers = pipeline | beam.Create([5])
        return [numbers, numbers | beam.Filter(lambda n: n > 5)]

    with pytest.raises(DataError, match="no result arrived"):
        runners.run(Engine(), "test", 0, None, build, lambda _: 0, lambda *_: None)


def test_options_are_those_of_beam_however_they_are_looked_at():
    flags = ["--job_name=mine", "--direct_num_workers=3"]
    own, beams = runners._Options(flags), PipelineOptions(flags)
    for cls in (DirectOptions, GoogleCloudOptions, PipelineOptions):
        assert own.view_as(cls).get_all_options() == beams.view_as(cls).get_all_options()
    own.view_as(DirectOptions).direct_num_workers = 5
    assert own.view_as(DirectOptions).view_as(DirectOptions).direct_num_workers == own.get_all_options()["direct_num_workers"] == 5
    assert pickle.loads(pickle.dumps(own)).get_all_options() == own.get_all_options()


def test_a_result_that_does_not_arrive_is_an_error():
    def build(pipeline, _counter):
        return pipeline | beam.Create([5]) | beam.Filter(lambda n: n > 5)

    with pytest.raises(DataError, match="no result arrived"):
        runners.run(Engine(), "test", 0, None, build, lambda n: n)


class _Keeps(beam.DoFn):
    """Numbers the elements of each key."""

    COUNT = beam.DoFn.StateParam(userstate.CombiningValueStateSpec("count", sum))

    def process(self, element, count=COUNT):
        count.add(1)
        yield element[0], count.read()


def test_what_state_a_dofn_has_is_looked_up_once(monkeypatch):
    asked = []
    get = runners._seen_once(lambda fn: asked.append(fn) or len(asked))
    one, other = _Keeps(), _Keeps()
    assert [get(one), get(other), get(one), get(other)] == [1, 2, 1, 2]
    del asked[:], one, other
    assert get.__closure__[0].cell_contents.keyrefs() == []  # let go


@pytest.mark.parametrize("workers", [1, 2])
def test_dofns_may_have_state(workers):
    def build(pipeline, _counter):
        return (
            pipeline
            | beam.Create(["a", "b", "a", "a"])
            | beam.Map(lambda key: (key, None))
            | beam.ParDo(_Keeps())
            | beam.combiners.ToList()
        )

    assert sorted(runners.run(Engine(workers=workers), "count", 0, None, build, lambda _: 0)) == [("a", 1), ("a", 2), ("a", 3), ("b", 1)]
