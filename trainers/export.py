"""A run, or a whole ensemble, as one SavedModel that needs TensorFlow and nothing of this package; or as a TFLite file.

Signatures of the SavedModel:

    serving_default  features as they stand in the records (float32 [B, size] each, or uint8 frames [B, T, size] and num_frames int32 [B])
                     -> scores float32 [B, C]. Of frames all that are given are taken, by every member.
    serialized       records, [B] serialized tf.Examples or tf.SequenceExamples -> id [B], scores [B, C]. A member that draws frames draws
                     those that `predict` draws, a function of the video's id.

`assets.extra/model.json` says which classes the columns of the scores are. Weights are kept as they are, or as bfloat16, which has the
range of float32 and 8 bits of mantissa: rounded to the nearest, ties to even, so with a relative error of at most 2^-8; the graph makes
float32 of them again before anything is computed (Tang et al. 2018, section 3.4).
"""

import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from trainers.ensemble import Ensemble, load
from trainers.frames import ALL
from trainers.parse import parser
from trainers.recipe import DataSchema, Frames
from trainers.run import Run
from yt8m_data.errors import DataError
from yt8m_data.shards import atomic_write, write_json

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_DESCRIPTION = "assets.extra/model.json"  # a place that SavedModels have for files of others


def export(folder: str, out: str, form: str = "saved_model", bfloat16: bool = False, max_bytes: int | None = None) -> int:
    """Write the model of a folder.

    Args:
      folder: what `fit`, `average` or `ensemble` wrote.
      out: folder of the SavedModel, new or empty, or the TFLite file. It appears whole or not at all.
      form: "saved_model", or "tflite", which has the signature on features alone, and one on video level mostly.
      bfloat16: pack the weights.
      max_bytes: the largest size, of all files together.

    Returns:
      The size in bytes.

    Raises:
      DataError: no run or ensemble, one of files of predictions, an `out` that holds something, a model above `max_bytes`, or one that
        TFLite cannot express.
    """
    target = Path(out)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise DataError(f"{out} exists: give another name for the export")
    scorer = load(folder)
    if len(scorer.runs) < len(scorer.members):
        raise DataError(f"the ensemble in {folder} is one of files of predictions, which are no models: give an ensemble of run folders")
    served = Served(scorer, bfloat16)
    target.parent.mkdir(parents=True, exist_ok=True)
    if form == "tflite":
        return _write_tflite(served, target, bfloat16, max_bytes)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        tf.saved_model.save(served, str(temporary), {"serving_default": served.on_features, "serialized": served.on_records})
        (temporary / _DESCRIPTION).parent.mkdir()
        write_json(temporary / _DESCRIPTION, _description(scorer, bfloat16))
        size = sum(path.stat().st_size for path in temporary.rglob("*") if path.is_file())
        _check_size(size, max_bytes, out, bfloat16)
        temporary.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        temporary.rename(target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return size


def parse_size(text: str) -> int:
    """Bytes of a size such as 1GB (10^9), 1GiB (2^30), 500 MB or 1000.

    Raises:
      DataError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip(), re.IGNORECASE)
    if not found or found[2].upper() not in _UNITS:
        raise DataError(f"the size {text!r} is none: give a number of bytes, or one with KB, MB, GB, KiB, MiB or GiB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def pack(weight: np.ndarray) -> tf.Tensor:
    """A float32 array as bfloat16, rounded to the nearest, ties to even; NaN and infinities stay what they are. Others are unchanged."""
    return tf.cast(weight, tf.bfloat16) if weight.dtype == np.float32 else tf.constant(weight)


class Served(tf.Module):
    """The graph that is exported: variables of its own, and functions without a Keras object.

    Args:
      scorer: an ensemble of runs.
      bfloat16: store float32 weights as bfloat16.
    """

    def __init__(self, scorer: Ensemble, bfloat16: bool) -> None:
        super().__init__(name="served")
        data = scorer.runs[0].recipe.data
        keep = pack if bfloat16 else tf.constant
        stored = [[tf.Variable(keep(w.numpy()), trainable=False) for w in run.model.variables] for run in scorer.runs]
        self.stored, self.weights = stored, tf.Variable(scorer.weights, trainable=False)
        members = [_member(run.model, own) for run, own in zip(scorer.runs, stored, strict=True)]

        def scores(given: Sequence[dict[str, tf.Tensor]]) -> tf.Tensor:
            each = tf.stack([member(features) for member, features in zip(members, given, strict=True)])
            shares = self.weights[:, None, None] if scorer.weights.ndim == 1 else self.weights[:, None, :]
            return tf.reduce_sum(each * shares, axis=0)

        def on_features(**features: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"scores": scores([features] * len(members))}

        def on_records(records: tf.Tensor) -> dict[str, tf.Tensor]:
            draws = [_draw(run, data) for run in scorer.runs]
            parsed = {draw: parser(data, *draw)(records) for draw in dict.fromkeys(draws)}
            return {"id": parsed[draws[0]]["id"], "scores": scores([parsed[draw]["features"] for draw in draws])}

        self.on_features = tf.function(on_features).get_concrete_function(**_feature_specs(data))
        self.on_records = tf.function(on_records).get_concrete_function(tf.TensorSpec([None], tf.string, name="records"))


def _member(model: keras.Model, stored: Sequence[tf.Variable]) -> Callable[[dict[str, tf.Tensor]], tf.Tensor]:
    """Features -> scores [B, C] of a model, with the stored variables in the place of its own."""
    place = {id(variable): i for i, variable in enumerate(model.variables)}
    dtypes = [variable.dtype for variable in model.variables]

    def values(variables: Sequence[keras.Variable]) -> list[tf.Tensor]:
        return [tf.cast(stored[place[id(v)]], dtypes[place[id(v)]]) for v in variables]

    def score(features: dict[str, tf.Tensor]) -> tf.Tensor:
        trainable, others = values(model.trainable_variables), values(model.non_trainable_variables)
        return model.stateless_call(trainable, others, features, training=False)[0]

    return score


def _feature_specs(data: DataSchema) -> dict[str, tf.TensorSpec]:
    if data.kind == "video":
        return {name: tf.TensorSpec([None, size], tf.float32, name=name) for name, size in data.features.items()}
    frames = {name: tf.TensorSpec([None, None, size], tf.uint8, name=name) for name, size in data.features.items()}
    return {**frames, "num_frames": tf.TensorSpec([None], tf.int32, name="num_frames")}


def _draw(run: Run, data: DataSchema) -> tuple[Frames, int]:
    return (run.recipe.frames, run.recipe.training.seed) if data.kind == "frame" else (ALL, 0)


def _description(scorer: Ensemble, bfloat16: bool) -> dict:
    data = scorer.runs[0].recipe.data
    return {
        "members": [run.recipe.name for run in scorer.runs],
        "weights": scorer.weights.tolist(),
        "stored_as": "bfloat16" if bfloat16 else "float32",
        "kind": data.kind,
        "features": data.features,
        "classes": scorer.classes.ids.tolist(),  # of the columns of the scores
    }


def _write_tflite(served: Served, target: Path, bfloat16: bool, max_bytes: int | None) -> int:
    if bfloat16:
        raise DataError("TFLite has no weights in bfloat16: leave --bfloat16 out, or export a SavedModel")
    try:
        content = tf.lite.TFLiteConverter.from_concrete_functions([served.on_features], served).convert()
    except Exception as error:  # the converter raises bare Exceptions, of its own kinds
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = next((line for line in lines if "error:" in line.lower()), lines[0] if lines else type(error).__name__)
        raise DataError(f"the model cannot be expressed in TFLite ({reason[:200]}): export a SavedModel") from None
    _check_size(len(content), max_bytes, str(target), False)
    with atomic_write(target) as stream:
        stream.write(content)
    return len(content)


def _check_size(size: int, max_bytes: int | None, out: str, bfloat16: bool) -> None:
    if max_bytes is not None and size > max_bytes:
        mend = "leave members out" if bfloat16 else "give --bfloat16, which halves it, or leave members out"
        raise DataError(f"{out} would have {size:,} bytes, above the {max_bytes:,} of --max-bytes: {mend}")
