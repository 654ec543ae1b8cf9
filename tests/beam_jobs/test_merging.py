"""Counts of several workers, combined, are those of one."""

from beam_jobs.merging import MergeStatistics
from yt8m_data import schema
from yt8m_data.statistics import Reading, Statistics


def test_merged_statistics_equal_one_shot(files, read_file):
    layout = schema.sniff(files[0])
    batches = [batch for path in files for batch in read_file(path, layout)]
    adding, whole = MergeStatistics(), Statistics(layout)
    halves = [adding.create_accumulator(), adding.create_accumulator(), adding.create_accumulator()]
    for number, batch in enumerate(batches):
        whole.add(batch)
        part = Statistics(layout)
        part.add(batch)
        part.reading = Reading(1, 10, 10, num_records=batch.num_rows)
        halves[number % 2] = adding.compact(adding.add_input(halves[number % 2], part))
    halves[2] = adding.compact(halves[2])  # of a worker that had none
    whole.reading = Reading(len(batches), 10 * len(batches), 10 * len(batches), num_records=whole.num_records)
    coder = adding.get_accumulator_coder()
    merged = adding.extract_output(adding.merge_accumulators([coder.decode(coder.encode(half)) for half in halves]))
    assert merged.to_dict() == whole.to_dict()
    assert merged.reading == whole.reading
