import os
import pickle

import pytest

from beam_jobs import progress


def test_counts_of_all_processes_add_up(tmp_path):
    counters = [progress.Counter(str(tmp_path)) for _ in range(3)]
    for number, counter in enumerate(counters):
        counter.add(10)
        counter.add(number)
    assert progress._counts(str(tmp_path)) == {"read": 33}


def test_a_counter_pickles_as_its_folder(tmp_path):
    counter = progress.Counter(str(tmp_path))
    counter.add(5)
    copy = pickle.loads(pickle.dumps(counter))
    assert copy.count == 0
    copy.add(2)
    pickle.loads(pickle.dumps(copy.of("write"))).add(9)
    assert progress._counts(str(tmp_path)) == {"read": 7, "write": 9}


def test_without_a_folder_nothing_is_counted():
    progress.Counter(None).add(3)


def test_one_line_where_there_is_no_terminal(capsys):
    with progress.shown("stats", 12) as counter:
        counter.add(12)
        counter.of("write").add(40)
        folder = counter.folder
    assert counter.total == 12
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("stats: 12 records in ")
    assert not os.path.exists(folder)


def test_the_count_is_told_also_when_the_job_fails(capsys):
    def fail():
        with progress.shown("stats", None) as counter:
            counter.add(4)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert "stats: 4 records" in capsys.readouterr().err
