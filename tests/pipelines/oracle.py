"""Reading of shards with TensorFlow's own parser, and the rules of augmentation in plain Python: nothing of the project is used here."""

import math
from collections import Counter, defaultdict

import numpy as np
import tensorflow as tf


def read(paths, id_key="id", extra=()):
    """Yield (id, labels, {feature: vector}, {provenance key: value}) of every record, in order; `extra` names more keys to read so."""
    for path in sorted(map(str, paths)):
        for record in _records(path):
            features = tf.train.Example.FromString(record).features.feature
            lists = {key: f.float_list.value for key, f in features.items() if key != "label_weights"}
            vectors = {key: np.array(values, np.float32) for key, values in lists.items() if len(values) > 1}
            provenance = {}
            for key in ("aug_method", "aug_base", "aug_neighbor"):
                if features[key].bytes_list.value if key in features else False:
                    provenance[key] = features[key].bytes_list.value[0]
            if "aug_lambda" in features:
                provenance["aug_lambda"] = features["aug_lambda"].float_list.value[0]
            for key in extra:
                if key in features:
                    floats = list(features[key].float_list.value)
                    provenance[key] = floats or features[key].bytes_list.value[0]
            labels = list(features["labels"].int64_list.value) if "labels" in features else []
            yield features[id_key].bytes_list.value[0], labels, vectors, provenance


def _records(path):
    for batch in tf.data.TFRecordDataset(path).batch(512).as_numpy_iterator():  # a call for each record takes longer than to parse it
        yield from batch


def label_counts(records):
    return Counter(label for _, labels, _, _ in records for label in set(labels))


def cooccurrence(records):
    pairs = Counter()
    for _, labels, _, _ in records:
        pairs.update((a, b) for a in set(labels) for b in set(labels))
    return pairs


def neighbors_for(count, threshold, policy):
    """K of SYSTEMS 8.3, with the clamp of A1 for the policy `paper`."""
    n = count / (threshold / 10_000)
    if policy == "paper":
        n = max(n, 100 * math.e)
    return max(int(5000 * (math.log10(n) - 2) / n + 1), 0)


def nearest(pool, base, k):
    """The ids of the k nearest of `pool` ({id: vector}) to `base`, by (distance, id)."""
    target = pool[base].astype(np.float64)
    distances = [(float(((vector.astype(np.float64) - target) ** 2).sum()), i) for i, vector in pool.items() if i != base]
    return [i for _, i in sorted(distances)[:k]]


def pools_by_label(records, feature="mean_rgb"):
    pools = defaultdict(dict)
    for i, labels, vectors, _ in records:
        for label in set(labels):
            pools[label][i] = vectors[feature]
    return pools


def deciding(labels, counts, policy="paper"):
    if policy == "authors":
        return min(labels, key=lambda label: counts[label])
    return min(labels, key=lambda label: (counts[label], label))
