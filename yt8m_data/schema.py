"""What a shard's records hold: the record kind, the keys, and the features with their sizes. Data, not code: sniffed from the file."""

import statistics
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa
from google.protobuf.message import DecodeError

from yt8m_data import shards, storage, tfrecord
from yt8m_data.errors import DataError
from yt8m_data.proto import SequenceExample

SNIFFED_RECORDS = 16

LABEL_WEIGHTS = "label_weights"  # key and column: how much each of the labels counts, from 0 to 1, in their order
PROVENANCE = pa.schema(
    [
        ("aug_method", pa.binary()),
        ("aug_base", pa.binary()),
        ("aug_neighbor", pa.binary()),
        ("aug_lambda", pa.float32()),
        ("aug_origin", pa.binary()),  # of the method delta, which goes from here to the neighbour
        (LABEL_WEIGHTS, pa.list_(pa.float32())),
    ]
)  # what stands beside a synthetic record; null on a real one, and where it says nothing

SEGMENTS = pa.schema(
    [
        ("segment_start_times", pa.list_(pa.int64())),
        ("segment_end_times", pa.list_(pa.int64())),
        ("segment_labels", pa.list_(pa.int64())),
        ("segment_scores", pa.list_(pa.float32())),
    ]
)  # of the 2019 release: one value for each rated pair of segment and class, in parallel lists; null where a record has none

OTHER = "other_features"  # column: all else in a record's context, as a serialised tf.train.Features, binary; null where there is nothing

ORDER = "order"  # column: the record's place in the sorted input, file << 32 | index, int64


@dataclass(frozen=True)
class Feature:
    """A feature's key and its number of values: float32 for a video, uint8 for each of its frames."""

    name: str
    size: int


@dataclass(frozen=True)
class Schema:
    """The layout of the records of a data set.

    Attributes:
      kind: "video" (tf.Example, one float vector per feature) or "frame" (tf.SequenceExample, uint8 vectors, one per second).
      id_key, labels_key: the keys of the video's id and of its class numbers.
      features: the widest first, which is the visual one in YouTube-8M.
      num_classes: labels are 0..num_classes-1.
      extras: names of further columns to carry along: those of SEGMENTS that the records have, and OTHER for what has no column.
    """

    kind: Literal["video", "frame"]
    id_key: str
    labels_key: str
    features: tuple[Feature, ...]
    num_classes: int
    extras: tuple[str, ...] = ()

    @property
    def arrow(self) -> pa.Schema:
        """The columns of a record batch: `id` binary, `labels` list<int32>, one column per feature, and the extras."""
        columns = [pa.field("id", pa.binary(), nullable=False), pa.field("labels", pa.list_(pa.int32()), nullable=False)]
        for feature in self.features:
            columns.append(pa.field(feature.name, self._column(feature), nullable=False))
        for name in self.extras:
            columns.append(pa.field(name, pa.binary()) if name == OTHER else SEGMENTS.field(name))
        return pa.schema(columns)

    def _column(self, feature: Feature) -> pa.DataType:
        if self.kind == "video":
            return pa.list_(pa.float32(), feature.size)
        return pa.list_(pa.binary(feature.size))

    def __str__(self) -> str:
        features = ", ".join(f"{f.name}[{f.size}]" for f in self.features)
        segments = ", segments" if set(SEGMENTS.names) & set(self.extras) else ""
        keys = f"id key {self.id_key!r}, labels key {self.labels_key!r}"
        return f"{self.kind}-level records: {keys}, {features}{segments}, {self.num_classes} classes"


def sniff(path: str, num_classes: int | None = None, extras: bool = False) -> Schema:
    """Read the schema off the first records of a shard.

    A feature is a float list of more than one value (video level) or a feature list of byte strings (frame level). Where `num_classes`
    is not given it is that of the manifest beside the shard, or of the published set which has such keys: 3862 (2018), 4716 (2017,
    `video_id`), 527 (AudioSet). With `extras` the schema carries along whatever else the records hold.

    Raises:
      DataError: the file is empty, no TFRecord file, or its records have no id or no features.
    """
    messages = _first_messages(path)
    keys = {entry.key: entry.value for m in messages for entry in m.context.feature}
    id_key = next((key for key in ("id", "video_id") if key in keys), None)
    if id_key is None:
        raise DataError(f"{path}: the first records have no key 'id' or 'video_id' but {_listed(keys)}: is it a YouTube-8M shard?")

    lists = [(e.key, e.value.feature[0].bytes_list.value) for m in messages for e in m.feature_lists.feature_list if e.value.feature]
    kind: Literal["video", "frame"] = "frame" if lists else "video"
    sizes: dict[str, list[int]] = {}
    if lists:
        found = [(key, len(value[0])) for key, value in lists if value]
    else:
        values = [(e.key, len(e.value.float_list.value)) for m in messages for e in m.context.feature]
        found = [(key, size) for key, size in values if size > 1 and key not in (*SEGMENTS.names, LABEL_WEIGHTS)]
    for key, size in found:
        sizes.setdefault(key, []).append(size)
    if not sizes:
        raise DataError(f"{path}: the first records have no features but {_listed(keys)}: is it a YouTube-8M shard?")
    usual = {key: statistics.mode(seen) for key, seen in sizes.items()}  # one bad record among them does not mislead
    ordered = sorted(usual.items(), key=lambda item: (-item[1], not item[0].startswith("mean_"), item[0]))  # means before other moments
    features = tuple(Feature(name, size) for name, size in ordered)
    carried = (*(name for name in SEGMENTS.names if name in keys), OTHER) if extras else ()
    return Schema(kind, id_key, "labels", features, num_classes or _known_classes(path, id_key, features), carried)


def _first_messages(path: str) -> list:
    """Parse the first records, all as SequenceExample: an Example's features are the same field as its context."""
    with storage.open_read(path) as stream:
        block = next(tfrecord.read(stream, path), None)
    if block is None:
        raise DataError(f"{path} is empty: no record to read the keys from")
    if not len(block):
        raise DataError(str(block.bad[0]))
    messages = []
    for row in range(min(len(block), SNIFFED_RECORDS)):
        try:
            messages.append(SequenceExample.FromString(block.record(row)))
        except DecodeError:
            continue  # a bad record among the first ones: the job's own policy for bad records will meet it
    if not messages:
        raise DataError(f"{path}: the first records are no tf.Example or tf.SequenceExample")
    return messages


def _known_classes(path: str, id_key: str, features: tuple[Feature, ...]) -> int:
    manifest = storage.to_path(path).with_name(shards.MANIFEST)
    written = shards.read_json(manifest) if manifest.exists() else {}
    if isinstance(written, dict) and isinstance(written.get("num_classes"), int):
        return int(written["num_classes"])
    if any(feature.name == "audio_embedding" for feature in features):
        return 527
    return 4716 if id_key == "video_id" else 3862


def _listed(keys: dict) -> str:
    return ", ".join(repr(key) for key in sorted(keys)) or "nothing"
