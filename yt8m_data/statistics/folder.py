"""The folder that `stats` and `merge-stats` write: `stats.json`, tables, matrices, and the states that can be merged again."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from yt8m_data import shards
from yt8m_data.errors import BadRecord, DataError, bad_lines
from yt8m_data.statistics import measures
from yt8m_data.statistics.collection import Statistics, load, save
from yt8m_data.statistics.labels import TOP_SETS
from yt8m_data.statistics.summary import MIN_TOGETHER, summarize
from yt8m_data.storage import OnePath, to_path

STATS, STATE, BAD_RECORDS = "stats.json", "state.npz", "bad_records.jsonl"
OUTPUTS = (
    *(STATS, STATE, "label_counts.csv", "pairs.csv", "label_sets.csv", "cooccurrence.npz", "label_means.npz", "slices.csv", "slices.npz"),
    BAD_RECORDS,
)
PAIR_ROWS = 10_000  # of pairs.csv

Names = Mapping[int, str] | None


def check(out: str, overwrite: bool) -> None:
    """Check that statistics can be written into the folder `out`.

    Raises:
      DataError: it holds some already and `overwrite` is not set, or it is a file.
    """
    path = to_path(out)
    present = [name for name in OUTPUTS if (path / name).exists()]
    if present and not overwrite:
        raise DataError(f"{out} holds {present[0]!r} already: give another folder, or --overwrite to replace it")
    if path.exists() and not path.is_dir():
        raise DataError(f"{out} is a file: give a folder for the output")


def write(statistics: Statistics, out: str, names: Names) -> dict[str, Any]:
    """Write OUTPUTS, as far as there is something to write, `stats.json` last; return what that holds."""
    path = to_path(out)
    path.mkdir(parents=True, exist_ok=True)
    for name in OUTPUTS:
        (path / name).unlink(missing_ok=True)
    results = statistics.results()
    with ThreadPoolExecutor(1) as beside:  # compressing arrays leaves the interpreter to the rest
        packed = beside.submit(_write_packed, path, statistics, results)
        summary = summarize(statistics)
        _write_csv(path / "label_counts.csv", _label_rows(results["labels"]["counts"], names))
        _write_csv(path / "pairs.csv", _pair_rows(results["cooccurrence"], summary["num_records"], names))
        _write_csv(path / "label_sets.csv", _set_rows(results["label_sets"], names))
        if "slices" in results:
            _write_csv(path / "slices.csv", _slice_rows(results["slices"], names))
        packed.result()
    _write_bad(path, statistics)
    shards.write_json(path / STATS, summary)
    return summary


def note(statistics: Statistics, summary: Mapping[str, Any], out: str) -> None:
    """Write into a new folder what `read` takes, and `stats.json`, last, from the summary; for a while, and so not compressed."""
    path = to_path(out)
    path.mkdir(parents=True, exist_ok=True)
    save(statistics, path / STATE, compress=False)
    _write_bad(path, statistics)
    shards.write_json(path / STATS, summary)


def _write_bad(path: OnePath, statistics: Statistics) -> None:
    if statistics.bad:
        with shards.atomic_write(path / BAD_RECORDS) as stream:
            stream.write(bad_lines(statistics.bad))


def _write_packed(path: OnePath, statistics: Statistics, results: Mapping[str, Any]) -> None:
    _write_arrays(path / "cooccurrence.npz", results["cooccurrence"])
    if "label_means" in results:
        _write_arrays(path / "label_means.npz", results["label_means"])
    if "slices" in results:
        _write_arrays(path / "slices.npz", _slice_arrays(results["slices"]))
    save(statistics, path / STATE)


def read(path: str) -> Statistics:
    """Read the statistics of a folder back, to merge them.

    Raises:
      DataError: it is no finished folder of `stats`.
    """
    folder = to_path(path)
    if not (folder / STATS).exists() or not (folder / STATE).exists():
        raise DataError(f"{path} has no {STATS} and {STATE}: give the folder of a finished yt8m-data stats")
    statistics = load(folder / STATE)
    if (folder / BAD_RECORDS).exists():
        lines = (folder / BAD_RECORDS).read_bytes().splitlines()
        statistics.bad = [BadRecord(**json.loads(line)) for line in lines]
    return statistics


def merge(paths: Sequence[str], out: str, names: Names, overwrite: bool = False) -> dict[str, Any]:
    """Merge the statistics of several folders into another: exactly those of all their inputs together; return what `stats.json` holds.

    Raises:
      DataError: one is no finished folder of `stats`, they were not counted alike, or `out` holds statistics already.
    """
    check(out, overwrite)
    merged = read(paths[0])
    for path in paths[1:]:
        other = read(path)
        merged.merge(other)
        merged.reading = merged.reading.merged(other.reading)
    return write(merged, out, names)


def _label_rows(counts: np.ndarray, names: Names) -> Iterable[Sequence[Any]]:
    order = np.argsort(-counts, kind="stable")
    rank = np.empty(len(counts), np.int64)
    rank[order] = np.arange(1, len(counts) + 1)
    share, ratio, group = counts / max(int(counts.sum()), 1), measures.imbalance(counts), measures.groups(counts)
    yield ["Index", "Count", *(["Name"] if names else []), "Rank", "Share", "IRLbl", "Group"]
    for i, count in enumerate(counts.tolist()):
        known = [f"{ratio[i]:.7g}", measures.GROUPS[group[i]]] if count else ["", ""]
        yield [i, count, *_named([i], names), rank[i], f"{share[i]:.7g}", *known]


def _pair_rows(cooccurrence: Mapping[str, np.ndarray], num_records: int, names: Names) -> Iterable[Sequence[Any]]:
    table = measures.pairs(cooccurrence, num_records, MIN_TOGETHER)
    yield ["First", "Second", *(["FirstName", "SecondName"] if names else []), "Count", "PMI", "Lift", "P(second|first)", "P(first|second)"]
    for row in measures.strongest(table, PAIR_ROWS).tolist():
        first, second = int(table["first"][row]), int(table["second"][row])
        figures = (table[key][row] for key in ("pmi", "lift", "p_second_given_first", "p_first_given_second"))
        yield [first, second, *_named([first, second], names), table["count"][row], *(f"{figure:.7g}" for figure in figures)]


def _set_rows(sets: measures.LabelSets, names: Names) -> Iterable[Sequence[Any]]:
    total = max(int(sets.counts.sum()), 1)
    yield ["Count", "Share", "Labels", *(["Names"] if names else [])]
    for labels, count in sets.top(TOP_SETS):
        yield [count, f"{count / total:.7g}", " ".join(map(str, labels)), *(["; ".join(_named(labels, names))] if names else [])]


def _slice_rows(slices: Mapping[str, Any], names: Names) -> Iterable[Sequence[Any]]:
    yield ["Slice", "Records", "Unlabeled", "LabelsPerRecord", "LabelsInUse", "TopLabel", *(["TopName"] if names else []), "Gini"]
    counts = slices["label_counts"]
    for i, name in enumerate(slices["names"]):
        inside = slice(counts["indptr"][i], counts["indptr"][i + 1])
        dense = np.zeros(counts["shape"][1], np.int64)
        dense[counts["indices"][inside]] = counts["data"][inside]
        records, top = int(slices["num_records"][i]), int(np.argmax(dense))
        figures = [records, slices["num_unlabeled"][i], f"{dense.sum() / max(records, 1):.7g}", np.count_nonzero(dense)]
        some = [top, *_named([top], names), f"{measures.gini(dense):.7g}"] if dense.any() else [""] * (3 if names else 2)
        yield [name, *figures, *some]


def _slice_arrays(slices: Mapping[str, Any]) -> dict[str, np.ndarray]:
    totals = {key: slices[key] for key in ("num_records", "num_unlabeled")}
    return {"names": np.array(slices["names"], str)} | totals | slices["label_counts"]


def _named(labels: Sequence[int], names: Names) -> list[str]:
    return [names.get(label, "") for label in labels] if names else []


def _write_csv(path: OnePath, rows: Iterable[Sequence[Any]]) -> None:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    with shards.atomic_write(path) as stream:
        stream.write(text.getvalue().encode())


def _write_arrays(path: OnePath, arrays: Mapping[str, np.ndarray]) -> None:
    with shards.atomic_write(path) as stream:
        np.savez_compressed(stream, allow_pickle=False, **dict(sorted(arrays.items())))
