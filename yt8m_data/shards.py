"""Shards: patterns, names, stable hashes, JSON files and the output folder."""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from yt8m_data.errors import DataError
from yt8m_data.storage import AnyPath, OnePath, atomic_write, remove_tree, to_path
from yt8m_data.storage import expand as find

MANIFEST = "manifest.json"

# The names of what the commands write into an output folder, and of what a killed one leaves there.
_WRITTEN = re.compile(
    r".+-\d{5}-of-\d{5}\.(tfrecord|tfrecord\.gz|parquet|arrow)|(manifest|stats|stats_before|stats_after)\.json|label_counts\.csv|vocabulary\.csv|cooccurrence\.npz"
    r"|bad_records\.jsonl|deltas\.arrow|report\.html|\..+\.tmp"
)
_SPILL = re.compile(r"\.spill-.+\.tmp")
_PLOT = re.compile(r"\w+\.(png|csv)|\..+\.tmp")


def expand(patterns: Sequence[str]) -> list[str]:
    """List the files that match any of the glob patterns, sorted, each once.

    Raises:
      DataError: a pattern matches no file.
    """
    files: set[str] = set()
    for pattern in patterns:
        matched = find(pattern)
        if not matched:
            raise DataError(f"no file matches {pattern!r}: quote the pattern, and check the folder")
        files.update(matched)
    return sorted(files)


def shard_name(name: str, shard: int, num_shards: int, suffix: str = ".tfrecord") -> str:
    """Name a shard, as in `train-00007-of-00070.tfrecord`."""
    return f"{name}-{shard:05d}-of-{num_shards:05d}{suffix}"


def stable_hash(seed: int, ids: Sequence[bytes], purpose: str) -> np.ndarray:
    """Hash ids to uint64 [N] by 64-bit BLAKE2b: the source of every random choice.

    `purpose` (at most 16 bytes) keeps choices apart: the order of a shard says nothing about which videos are kept.
    """
    salt, person = seed.to_bytes(8, "little", signed=True), purpose.encode()
    copy = hashlib.blake2b(digest_size=8, salt=salt, person=person).copy  # half the time of beginning anew with salt and person
    digests = []
    for i in ids:
        blake = copy()
        blake.update(i)
        digests.append(blake.digest())
    return np.frombuffer(b"".join(digests), "<u8")


def unit_interval(hashes: np.ndarray) -> np.ndarray:
    """Map hashes to float64 in [0, 1), by their upper 53 bits."""
    return (hashes >> np.uint64(11)) * 2.0**-53


def write_json(path: AnyPath, value: Any) -> None:
    """Write a value as JSON, atomically."""
    with atomic_write(path) as stream:
        stream.write(dump_json(value).encode())


def dump_json(value: Any, indent: str = "") -> str:
    """Format a value as JSON: a line for each key, and for each item of a list of records."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        items = (f"{inner}{json.dumps(str(key))}: {dump_json(item, inner)}" for key, item in value.items())
        return "{\n" + ",\n".join(items) + f"\n{indent}}}" + ("" if indent else "\n")
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(inner + json.dumps(item, allow_nan=False) for item in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def read_json(path: AnyPath) -> Any:
    """Read a JSON file.

    Raises:
      DataError: the file is missing or is not JSON.
    """
    try:
        return json.loads(to_path(path).read_bytes())
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from None


def check_output(folder: str, overwrite: bool) -> list[OnePath]:
    """Check that the output folder can be used, and list what stands in the way: files of an earlier run, to be removed.

    Raises:
      DataError: it holds something already and `overwrite` is not set, it holds foreign files, or it is a file.
    """
    path = to_path(folder)
    if path.exists() and not path.is_dir():
        raise DataError(f"{folder} is a file: give a folder for the output")
    present: list[OnePath] = sorted(path.iterdir(), key=str) if path.is_dir() else []
    if present and not overwrite:
        finished = any(entry.name == MANIFEST for entry in present)
        state = "holds a finished output" if finished else f"is not empty (it holds {present[0].name!r})"
        raise DataError(f"{folder} {state}: give another folder, or --overwrite to replace what is there")
    for entry in present:
        if not _is_ours(entry):
            raise DataError(f"{folder} holds {entry.name!r}, which is none of this command's files: give another folder")
    return present


def prepare_output(folder: str, overwrite: bool) -> OnePath:
    """Make the output folder, empty, after `check_output`."""
    present = check_output(folder, overwrite)
    for entry in sorted(present, key=lambda e: e.name != MANIFEST):  # the manifest first: what is half removed is not finished
        if entry.is_dir():
            remove_tree(entry)
        else:
            entry.unlink()
    path = to_path(folder)
    path.mkdir(parents=True, exist_ok=True)
    return path


def _is_ours(entry: OnePath) -> bool:
    if entry.is_dir():
        plots = entry.name == "report_plots" and all(_PLOT.fullmatch(inside.name) for inside in entry.iterdir())
        split = all(inside.is_file() and _WRITTEN.fullmatch(inside.name) for inside in entry.iterdir())
        return plots or split or bool(_SPILL.fullmatch(entry.name))
    return bool(_WRITTEN.fullmatch(entry.name))
