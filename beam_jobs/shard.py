"""`yt8m-data shard`: write the records anew, globally shuffled, into shards of the wanted number, splits, classes and format.

Frames stay bytes on the way. What happens to the records is in `exchange`; here is what is decided before, and checked and written after.
"""

import itertools
import json
import os
import shutil
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from beam_jobs import runners
from beam_jobs.exchange import Exchanged, Read, Router, Written, run_grouped, run_spilled
from beam_jobs.inputs import Input
from beam_jobs.layout import Layout
from beam_jobs.once import Resumed, resumption
from yt8m_data import classes, codec, gzipped, shards, storage, tfrecord
from yt8m_data.errors import DataError, bad_lines
from yt8m_data.schema import Schema
from yt8m_data.shard_file import TFRECORD, Form
from yt8m_data.splits import Splits
from yt8m_data.work import open_work, versions

MINIMUM_BUDGET = 64 << 20
_COPIES = 2  # of a partition, at a task's worst: its records once, and as much room for rows to be written and for a larger partition
_TASKS = 4  # that each process has, if there are as many shards: all are busy to the end


@dataclass(frozen=True)
class Request:
    """What to write.

    Attributes:
      folder: of the output; each of several splits has a folder of its own within.
      splits: which split a video goes to.
      num_shards: of all splits together, by their shares; 0 for as many as there are input files, unless `shard_bytes` is given.
      shard_bytes: about how large shards are to be, before compression.
      classes: the classes to keep, in the order of their new numbers; None for all as they are.
      form: the format.
      seed: of the order, and of the splits by id.
      memory: bytes of records that all processes together may hold, beside what Python and its libraries take.
    """

    folder: str
    splits: Splits
    num_shards: int = 0
    shard_bytes: int = 0
    classes: tuple[int, ...] | None = None
    form: Form = TFRECORD
    seed: int = 0
    memory: int = 1 << 30
    overwrite: bool = False


def run(source: Input, request: Request, engine: runners.Engine) -> Resumed:
    """Write the shards, and last `manifest.json`, of each split and of all.

    Raises:
      DataError: a setting, the input or the output folder is wrong, the disk is too small, an id comes twice, or the books do not balance.
    """
    engine.check_reach(source.files[0], request.folder)
    split_of_file = request.splits.of_files(source.files)
    plan = _plan(source, request, engine, split_of_file)
    work = open_work(request.folder, plan, request.overwrite)
    _check_disk(request.folder, source)
    router = _router(source, request, plan["num_shards"], plan["partitions"])
    for layout in router.layouts:
        storage.to_path(layout.folder).mkdir(parents=True, exist_ok=True)
    schema = source.schema if request.classes is None else replace(source.schema, num_classes=len(request.classes))

    read = Read(source.schema, source.skip_bad, router)
    files = list(zip(range(len(source.files)), source.files, split_of_file, strict=True))
    if engine.runner == "local":
        done = run_spilled(source, files, read, schema, engine, work)
    else:
        done = run_grouped(source, files, read, schema, engine)
    source.check_bad(done.bad, done.books["read"])
    _check_disjoint(request.splits, done.written)
    manifest = _write_manifests(source, request, schema, router, done)
    work.remove()
    return Resumed(manifest, resumption(done.found) if work.resumed else "")


def _plan(source: Input, request: Request, engine: runners.Engine, split_of_file: list[int]) -> dict[str, Any]:
    """All that the output and what is spilled for it depend on. What a run finds bad it notes, so a job that stopped there may skip it."""
    if request.memory < MINIMUM_BUDGET:
        raise DataError(f"a memory budget of {request.memory:,} bytes is too small: give at least {MINIMUM_BUDGET >> 20}MiB")
    sizes = [gzipped.content_bytes(path) for path in source.files]
    rows = None if request.classes is None else classes.rows_of(request.classes, source.schema.num_classes)
    size = sum(sizes) * (1.0 if rows is None else _kept_share(source, rows))
    shares = request.splits.fractions or [
        sum(s for s, split in zip(sizes, split_of_file, strict=True) if split == number) / max(sum(sizes), 1)
        for number in range(len(request.splits.names))
    ]
    if request.shard_bytes:
        num_shards = [max(1, -int(-size * share // request.shard_bytes)) for share in shares]
    else:
        num_shards = [max(1, round((request.num_shards or len(source.files)) * share)) for share in shares]
    processes = engine.processes(sum(sizes))
    part = request.memory // (_COPIES * processes)
    of_each = zip(shares, num_shards, strict=True)
    partitions = [Layout.partitions_for(size * share, number, part, _TASKS * processes) for share, number in of_each]
    return {
        "job": "shard",
        "inputs": [storage.identity(path) for path in source.files],
        "schema": json.loads(json.dumps(asdict(source.schema))),
        "splits": json.loads(json.dumps(asdict(request.splits))),
        "classes": None if request.classes is None else list(request.classes),
        "format": asdict(request.form),
        "seed": request.seed,
        "num_shards": num_shards,
        "versions": versions(),
        "partitions": partitions,
    }


def _kept_share(source: Input, rows: np.ndarray) -> float:
    """The share of the first records that have one of the classes to keep."""
    path = next(path for path in source.files if storage.size(path))
    with storage.open_read(path) as stream:
        batch = codec.decode(next(tfrecord.read(stream, path)), source.schema).batch
    return max(classes.narrow(batch, rows).num_rows, 1) / max(batch.num_rows, 1)


def _check_disk(folder: str, source: Input) -> None:
    """Check that the records fit on the disk, once spilled and once written; what a killed run left there counts."""
    disk = storage.disk_for(folder)
    there = 0 if storage.is_remote(folder) else storage.size_below(folder)
    needed, free = 2 * sum(map(gzipped.content_bytes, source.files)) - there, shutil.disk_usage(disk).free
    if needed > free:
        raise DataError(f"the job takes {needed / 1e9:,.3g} GB more, and {disk} has {free / 1e9:,.3g} GB free: make room")


def _router(source: Input, request: Request, num_shards: list[int], partitions: list[int]) -> Router:
    names = request.splits.names
    folders = [os.path.join(request.folder, name) if len(names) > 1 else request.folder for name in names]
    layouts = [Layout(*parts, request.seed, request.form) for parts in zip(folders, names, num_shards, partitions, strict=True)]
    rows = None if request.classes is None else classes.rows_of(request.classes, source.schema.num_classes)
    return Router(tuple(layouts), request.splits, request.seed, rows)


def _check_disjoint(splits: Splits, written: list[Written]) -> None:
    """Check that no id is in two splits, where files decide: within a split the writer has checked it."""
    if not splits.patterns:
        return
    of_split = [
        np.concatenate([np.empty(0, np.uint64), *(part.hashes for part in written if part.layout == number and part.hashes is not None)])
        for number in range(len(splits.names))
    ]
    for (one, first), (other, second) in itertools.combinations(zip(splits.names, of_split, strict=True), 2):
        if common := len(np.intersect1d(first, second)):
            raise DataError(f"{common} ids are in shards of both splits, {one!r} and {other!r} (yt8m-data validate lists them)")


def _write_manifests(
    source: Input,
    request: Request,
    schema: Schema,
    router: Router,
    done: Exchanged,
) -> dict[str, Any]:
    """Draw up the books, check that they balance, and write the manifests, that of all last."""
    books, bad = done.books, done.bad
    entries = [
        sorted((entry for part in done.written if part.layout == number for entry in part.entries), key=lambda entry: entry["name"])
        for number in range(len(router.layouts))
    ]
    counts = [sum(entry["records"] for entry in listed) for listed in entries]
    totals = {"read": books["read"] + len(bad), "kept": books["kept"], "dropped": books["dropped"], "bad": len(bad), "written": sum(counts)}
    complete = all(len(listed) == layout.num_shards for listed, layout in zip(entries, router.layouts, strict=True))
    if books["files"] != len(source.files):
        raise DataError(f"{books['files']} of {len(source.files)} files were read, so Beam lost some on the way: run it again")
    if totals["read"] != totals["kept"] + totals["dropped"] + totals["bad"] or totals["written"] != totals["kept"] or not complete:
        raise DataError(f"the books do not balance, so records were lost or doubled on the way: {totals}")
    common = {
        "job": "shard",
        "num_classes": schema.num_classes,
        "schema": asdict(schema),
        "format": asdict(request.form),
        "seed": request.seed,
        "classes": None if request.classes is None else list(request.classes),
        "versions": versions(),
        "inputs": [{"path": path, "bytes": storage.size(path)} for path in source.files],
    }
    folder = storage.to_path(request.folder)
    if bad:
        with shards.atomic_write(folder / "bad_records.jsonl") as stream:
            stream.write(bad_lines(bad))
    manifest = common | {"totals": totals}
    if len(entries) == 1:
        manifest |= {"shards": entries[0]}
    else:
        splits = request.splits
        rules = [f"fraction {f:g} of the ids" for f in splits.fractions] or [*(f"shards {p}" for p in splits.patterns), "all other shards"]
        named = list(zip(splits.names, rules, counts, entries, strict=True))
        for name, rule, count, listed in named:
            shards.write_json(folder / name / shards.MANIFEST, common | {"split": rule, "totals": {"written": count}, "shards": listed})
        manifest |= {"splits": [{"name": name, "rule": rule, "records": count, "shards": len(s)} for name, rule, count, s in named]}
    shards.write_json(folder / shards.MANIFEST, manifest)
    return manifest
