"""Single models, averaged checkpoints, three ensembles, a distilled student and bfloat16 on real shards, with their sizes.

    python benchmarks/ensemble.py                       # about 6 minutes on a core; runs stay in --out, so that it goes on where it stopped
    python benchmarks/ensemble.py --set training.precision=mixed_bfloat16

Trains on shards 0000-0059, learns the weights of the ensembles on 0060-0069 and reports on 0070-0089, which nothing has seen.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from trainers.average import average
from trainers.ensemble import ensemble, load
from trainers.evaluate import evaluate, scored
from trainers.export import export
from trainers.fit import fit
from trainers.inputs import evaluation_batches
from trainers.predict import predict
from yt8m_data.shards import expand, read_json

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "yt8m-2018-video"
_HIDDEN = "{name: dense, size: 1024, activation: relu, layer_norm: true}"
_NARROW = "{name: dense, size: 512, activation: relu, layer_norm: true}"

# Recipe and changes. They differ in depth, head, loss and what they see of the features.
SINGLES: dict[str, tuple[str, tuple[str, ...]]] = {
    "moe": ("moe", ()),
    "logistic": ("logistic", ()),
    "gated_moe": ("moe", ("head.name=gated_moe",)),
    "moe_each": ("moe", ("input.l2_normalize=each", "head.num_experts=3")),
    "moe_huber": ("moe", ("loss={name: huber, delta: 0.5}",)),
    "hidden": ("logistic", (f"encoders=[{_HIDDEN}]", "training.learning_rate=1e-3")),
    "hidden_twice": ("moe", (f"encoders=[{_HIDDEN}, {_NARROW}]", "training.learning_rate=7e-4")),
}
AVERAGED = 4  # checkpoints of `moe`


class Table:
    """Prints a line per system as it comes."""

    def __init__(self, evaluation: str) -> None:
        self._evaluation = evaluation
        print(f"{'system':<34}{'GAP@20':>9}{'MAP':>9}{'PERR':>9}{'Hit@1':>9}{'MiB':>9}{'seconds':>9}  note")

    def line(self, name: str, metrics: dict[str, Any], size: int | None, seconds: float | None, note: str = "") -> None:
        """A line of figures."""
        figures = "".join(f"{metrics[key]:>9.4f}" for key in ("gap", "map", "perr", "hit_at_1"))
        told = f"{size / 2**20:>9.1f}" if size else f"{'':>9}"
        print(f"{name:<34}{figures}{told}{f'{seconds:>9.0f}' if seconds else '':>9}  {note}", flush=True)

    def folder(self, name: str, folder: Path, note: str = "") -> None:
        """A line for a run or an ensemble."""
        self.line(name, evaluate(str(folder), [self._evaluation]), weight_bytes(folder), None, note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", default=str(DATA), help="folder of the shards validate0000..0089.tfrecord")
    parser.add_argument("--out", default="ensemble-out", help="folder for the runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over all trainings")
    arguments = parser.parse_args()
    train, held_out, evaluation = (f"{arguments.data}/validate{part}.tfrecord" for part in ("00[0-5]?", "006?", "00[78]?"))
    out, table = Path(arguments.out), Table(evaluation)

    def trained(name: str, recipe: str, *settings: str) -> None:
        started = time.perf_counter()
        if (out / name / "metrics.json").exists():
            metrics, seconds = read_json(out / name / "metrics.json"), None
        else:
            metrics = fit(recipe, [train], [evaluation], str(out / name), [*settings, *arguments.set])
            seconds = time.perf_counter() - started
        table.line(name, metrics, weight_bytes(out / name), seconds)

    for name, (recipe, settings) in SINGLES.items():
        kept = ["training.checkpoint_every=20", f"training.keep_checkpoints={AVERAGED}"] if name == "moe" else []
        trained(name, recipe, *settings, *kept)
    if not (out / "moe_mean").exists():
        average(str(out / "moe"), str(out / "moe_mean"), AVERAGED)
    table.folder(f"moe, mean of {AVERAGED} checkpoints", out / "moe_mean")

    members = [str(out / name) for name in SINGLES]
    for weights in ("equal", "model", "class"):
        folder = out / f"ensemble_{weights}"
        if not folder.exists():
            ensemble(members, str(folder), weights, [] if weights == "equal" else [held_out])
        kept, note = read_json(folder / "ensemble.json"), ""
        if weights == "model":
            errors = f"MSE {kept['mean_squared_error']:.3e}, equal {kept['that_of_equal_weights']:.3e}"
            note = f"{np.round(kept['weights'], 3).tolist()}, {errors}"
        table.folder(f"ensemble of 7, weights {weights}", folder, note)

    teacher = out / "teacher.parquet"
    if not teacher.exists():
        predict(str(out / "ensemble_model"), [train], str(teacher), top_k=50)
    trained("student", "moe_student", f"training.distill.teacher={teacher}")
    trained("moe, as long as the student", "moe", "training.epochs=6")

    for name in ("ensemble_model", "student"):
        for packed in (False, True):
            target = out / f"{name}_{'bfloat16' if packed else 'float32'}"
            if not target.exists():
                export(str(out / name), str(target), bfloat16=packed)
            size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
            table.line(f"{target.name}, SavedModel", served(target, evaluation, out / name), size, None)


def weight_bytes(folder: Path) -> int:
    """Bytes of the float32 weights of a run, or of all members of an ensemble."""
    return 4 * sum(run.model.count_params() for run in load(str(folder)).runs)


def served(model: Path, evaluation: str, source: Path) -> dict[str, Any]:
    """Metrics of an exported model's own scores."""
    score, files, scorer = tf.saved_model.load(str(model)).signatures["serving_default"], expand([evaluation]), load(str(source))
    data = scorer.layout_for(files)
    batches = (
        (batch["id"].numpy().tolist(), score(**batch["features"])["scores"].numpy(), batch["labels"].numpy())
        for batch in evaluation_batches(files, data)
    )
    return scored(batches, files, data).result(scorer.label_counts)


if __name__ == "__main__":
    main()
