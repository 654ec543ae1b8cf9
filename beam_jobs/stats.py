"""`yt8m-data stats`: one pass over the shards -> stats.json, label_counts.csv, cooccurrence.npz, and both as pictures."""

import csv
import io
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np

from beam_jobs import runners
from beam_jobs.inputs import Input
from beam_jobs.progress import Counter
from beam_jobs.transforms import BAD, CombineStatistics, ReadShards, bad_lines
from yt8m_data import shards
from yt8m_data.errors import BadRecord, DataError
from yt8m_data.report import plots
from yt8m_data.statistics import Statistics

OUTPUTS = ("stats.json", "label_counts.csv", "cooccurrence.npz", "zipf.png", "cooccurrence.png", "bad_records.jsonl")


def run(source: Input, out: str, names: dict[int, str] | None, engine: runners.Engine, overwrite: bool = False) -> dict[str, Any]:
    """Compute the statistics of `source`, write OUTPUTS into the folder `out`, and return what `stats.json` holds.

    Raises:
      DataError: `out` holds such outputs already and `overwrite` is not set, or the input is bad.
    """
    folder = Path(out)
    present = [name for name in OUTPUTS if (folder / name).exists()]
    if present and not overwrite:
        raise DataError(f"{out} holds {present[0]!r} already: give another folder, or --overwrite to replace it")
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{out} is a file: give a folder for the output")
    statistics = compute(source, engine)
    folder.mkdir(parents=True, exist_ok=True)
    for name in present:
        (folder / name).unlink()
    write(statistics, folder, names)
    return shards.read_json(folder / "stats.json")


def compute(source: Input, engine: runners.Engine) -> Statistics:
    """Run the pipeline and return what it counted; refuse a rotten input."""

    def build(pipeline: beam.Pipeline, counter: Counter) -> Any:
        read = pipeline | ReadShards(source.files, source.schema, source.skip_bad, counter)
        statistics = read.batches | "Count" >> beam.CombineGlobally(CombineStatistics(source.schema))
        return statistics | "Add the bad" >> beam.Map(_with_bad, beam.pvalue.AsList(read[BAD]))

    statistics: Statistics = runners.run(engine, "stats", source.bytes, source.estimated_records, build, lambda result: result.num_records)
    source.check_bad(statistics.bad, statistics.num_records)
    return statistics


def write(statistics: Statistics, folder: Path, names: dict[int, str] | None) -> None:
    """Write OUTPUTS, `stats.json` last; `bad_records.jsonl` only where there are some."""
    counts, cooccurrence = statistics.label_counts, statistics.cooccurrence()
    with shards.atomic_write(folder / "label_counts.csv") as stream:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["Index", "Count", *(["Name"] if names else [])])
        table.writerows([i, count, *([names.get(i, "")] if names else [])] for i, count in enumerate(counts.tolist()))
        stream.write(text.getvalue().encode())
    with shards.atomic_write(folder / "cooccurrence.npz") as stream:
        np.savez_compressed(stream, allow_pickle=False, **cooccurrence)
    if statistics.bad:
        with shards.atomic_write(folder / "bad_records.jsonl") as stream:
            stream.write(bad_lines(statistics.bad))
    result = statistics.to_dict()
    plots.zipf_plot(result, folder / "zipf.png", names)
    if counts.any():
        plots.cooccurrence_plot(cooccurrence, names, folder / "cooccurrence.png")
    shards.write_json(folder / "stats.json", result)


def _with_bad(statistics: Statistics, bad: list[BadRecord]) -> Statistics:
    statistics.bad = sorted(bad)
    return statistics
