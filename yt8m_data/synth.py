"""`yt8m-data synth`: made records as shards on disk."""

from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import Progress

from yt8m_data import codec, shards, tfrecord
from yt8m_data.errors import DataError
from yt8m_data.synthetic import SyntheticSpec, batches


def write(spec: SyntheticSpec, out: str, num_shards: int, name: str = "train", overwrite: bool = False) -> dict[str, Any]:
    """Write `spec.num_records` made records into `num_shards` shards of nearly equal size, then `manifest.json`; return the manifest.

    Raises:
      DataError: there are fewer records than shards, or the folder is not empty and `overwrite` is not set.
    """
    if not 1 <= num_shards <= max(spec.num_records, 1):
        raise DataError(f"{num_shards} shards cannot hold {spec.num_records} records: give 1 to {max(spec.num_records, 1)} shards")
    folder = shards.prepare_output(out, overwrite)
    entries = []
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("synth", total=spec.num_records)
        for shard in range(num_shards):
            start, stop = (spec.num_records * i // num_shards for i in (shard, shard + 1))
            path = folder / shards.shard_name(name, shard, num_shards)
            size = 0
            with shards.atomic_write(path) as stream:
                for batch in batches(spec, start, stop):
                    size += tfrecord.write(stream, codec.encode(batch, spec.schema))
                    progress.advance(task, batch.num_rows)
            entries.append({"name": path.name, "records": stop - start, "bytes": size})
    manifest = {"job": "synth", "num_classes": spec.num_classes, "records": spec.num_records, "spec": asdict(spec), "shards": entries}
    shards.write_json(folder / shards.MANIFEST, manifest)
    return manifest
