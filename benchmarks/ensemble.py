"""Single models, averaged checkpoints, three ensembles, a distilled student and bfloat16, with their sizes.

    python benchmarks/ensemble.py               # seven video-level models on real shards, two short epochs each
    python benchmarks/ensemble.py --kind frame  # four frame-level ones on made shards, and repeated draws of frames
    python benchmarks/ensemble.py --set training.precision=mixed_bfloat16  # the figures of docs/ensembles.md, with --kind frame too

The real shards 0000-0059 train, 0060-0069 give the weights of the ensembles, 0070-0089 the figures, which nothing else has seen; made ones
are split alike. What is there already in --out is not made again, so a run that was stopped goes on. "CPU s" is the processor time of a
training with its evaluation.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from trainers.average import average
from trainers.ensemble import ensemble, load
from trainers.evaluate import evaluate, scored
from trainers.export import export
from trainers.fit import fit
from trainers.inputs import count_labels, evaluation_batches
from trainers.predict import predict
from trainers.weights import Moments
from yt8m_data import synth
from yt8m_data.shards import expand, read_json
from yt8m_data.synthetic import SyntheticSpec

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "yt8m-2018-video"
_HIDDEN = "{name: dense, size: 1024, activation: relu, layer_norm: true}"
_NARROW = "{name: dense, size: 512, activation: relu, layer_norm: true}"
_SHORT = ("training.epochs=2", "training.batch_size=512", "training.learning_rate=2e-3")
_SMALL = ("num_classes=100", "input.scale=null", "prior_scale=0.37", "training.steps=80", "training.batch_size=64")
_DRAWN = ("frames={sample: random, count: 8}", "training.learning_rate=2e-3")
_GATED = "encoders=[{name: dense, size: 128, batch_norm: true, momentum: 0.9}, {name: context_gating, momentum: 0.9}]"

# Recipe and changes. Those of a kind differ in depth, head, loss and what they see of the features.
SINGLES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "video": {
        "moe": ("moe", _SHORT),
        "logistic": ("logistic", _SHORT),
        "gated_moe": ("moe", (*_SHORT, "head.name=gated_moe")),
        "moe_each": ("moe", (*_SHORT, "input.l2_normalize=each")),
        "moe_huber": ("moe", (*_SHORT, "loss={name: huber, delta: 0.5}")),
        "hidden": ("logistic", (*_SHORT, f"encoders=[{_HIDDEN}]")),
        "hidden_twice": ("moe", (*_SHORT, f"encoders=[{_HIDDEN}, {_NARROW}]")),
    },
    "frame": {
        "netvlad": ("moe", (*_SMALL, *_DRAWN, "pooling={name: netvlad, clusters: 8, momentum: 0.9}", _GATED)),
        "average": ("logistic", (*_SMALL, "pooling={name: average}", "training.learning_rate=2e-3")),
        "soft_dbow": ("moe", (*_SMALL, *_DRAWN, "pooling={name: soft_dbow, clusters: 256, momentum: 0.9}", _GATED)),
        "attention": ("moe", (*_SMALL, *_DRAWN, "pooling={name: attention}")),
    },
}
STUDENTS = {
    "video": ("moe_student", (*_SHORT, "training.epochs=4")),
    "frame": ("moe_student", (*_SMALL, "pooling={name: average}", "training.learning_rate=2e-3")),
}
AVERAGED = 4  # checkpoints of the first


class Splits(NamedTuple):
    """Patterns of shards."""

    train: str
    held_out: str
    evaluation: str


class Study:
    """Trains, joins and prints a line for each system as it comes, in one folder and on one set of shards."""

    def __init__(self, out: Path, splits: Splits, overrides: list[str]) -> None:
        self.out, self.splits, self.overrides = out, splits, overrides
        print(f"{'system':<36}{'GAP@20':>9}{'MAP':>9}{'PERR':>9}{'Hit@1':>9}{'MiB':>9}{'CPU s':>9}")

    def train(self, name: str, recipe: str, *settings: str) -> None:
        """A run of a recipe."""
        started, seconds = time.process_time(), None
        if (self.out / name / "metrics.json").exists():
            metrics = read_json(self.out / name / "metrics.json")
        else:
            metrics = fit(recipe, [self.splits.train], [self.splits.evaluation], str(self.out / name), [*settings, *self.overrides])
            seconds = time.process_time() - started
        self._line(name, metrics, self._weight_bytes(name), seconds)

    def average(self, name: str) -> None:
        """The mean of the last checkpoints of a run."""
        if not (self.out / f"{name}_mean").exists():
            average(str(self.out / name), str(self.out / f"{name}_mean"), AVERAGED)
        self._folder(f"{name}_mean", f"{name}, mean of {AVERAGED} checkpoints")

    def ensembles(self, members: list[str]) -> None:
        """Of some runs, with equal and with learned weights, and the squared errors on the shards that these are of and on others."""
        for weights in ("equal", "model", "class"):
            name = f"ensemble_{weights}"
            if not (self.out / name).exists():
                held_out = [] if weights == "equal" else [self.splits.held_out]
                ensemble([str(self.out / member) for member in members], str(self.out / name), weights, held_out)
            self._folder(name, f"ensemble of {len(members)}, weights {weights}")
            if weights == "equal":
                unseen = self._moments(name)
            kept = read_json(self.out / name / "ensemble.json")
            learned = np.array(kept["weights"])
            if weights != "equal":
                print(f"    squared error {kept['mean_squared_error']:.3e}, of equal weights {kept['that_of_equal_weights']:.3e}", end=";")
            print(f"    on the evaluation shards {unseen.mean_squared_error(learned):.3e}", end="")
            print(f", weights {np.round(learned, 3).tolist()}" if weights == "model" else "")
        files = expand([self.splits.held_out])
        counts = np.array(count_labels(files, load(str(self.out / name)).layout_for(files))[1])
        print(f"    of {len(counts)} classes {np.sum(counts == 0)} have no video among those held out, {np.sum(counts < 10)} fewer than 10")

    def _moments(self, name: str) -> Moments:
        """Sums of an ensemble's members' scores over the evaluation shards."""
        together = load(str(self.out / name))
        moments = Moments(len(together.members), together.classes.num_classes)
        for _, scores, labels in together.member_scores(expand([self.splits.evaluation])):
            moments.update(scores, labels)
        return moments

    def student(self, recipe: str, *settings: str) -> None:
        """A run that learns from the ensemble."""
        teacher = self.out / "teacher.parquet"
        if not teacher.exists():
            predict(str(self.out / "ensemble_model"), [self.splits.train], str(teacher), top_k=50)
        self.train("student", recipe, f"training.distill.teacher={teacher}", *settings)

    def repeats(self, name: str) -> None:
        """A run that draws frames, several times."""
        for repeat in (1, 5, 10):
            self._line(f"{name}, {repeat} draws", evaluate(str(self.out / name), [self.splits.evaluation], repeat), None, None)

    def exports(self, name: str) -> None:
        """The SavedModels of a run or an ensemble, scored by what they give."""
        for stored in ("float32", "bfloat16"):
            target = self.out / f"{name}_{stored}"
            if not target.exists():
                export(str(self.out / name), str(target), bfloat16=stored == "bfloat16")
            size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
            self._line(f"{name}, SavedModel in {stored}", self._served(target, name), size, None)

    def _served(self, model: Path, source: str) -> dict[str, Any]:
        """Metrics of an exported model's own scores."""
        score, files = tf.saved_model.load(str(model)).signatures["serialized"], expand([self.splits.evaluation])
        scorer = load(str(self.out / source))
        data = scorer.layout_for(files)
        records = tf.data.TFRecordDataset(files).batch(64)
        batches = (
            (batch["id"].tolist(), score(records=raw)["scores"].numpy(), batch["labels"].numpy())
            for raw, batch in zip(records, evaluation_batches(files, data, 64), strict=True)
        )
        return scored(batches, files, data).result()

    def _folder(self, name: str, title: str) -> None:
        self._line(title, evaluate(str(self.out / name), [self.splits.evaluation]), self._weight_bytes(name), None)

    def _weight_bytes(self, name: str) -> int:
        """Bytes of the float32 weights of a run, or of all members of an ensemble."""
        return 4 * sum(run.model.count_params() for run in load(str(self.out / name)).runs)

    def _line(self, name: str, metrics: dict[str, Any], size: int | None, seconds: float | None) -> None:
        figures = "".join(f"{metrics[key]:>9.4f}" for key in ("gap", "map", "perr", "hit_at_1"))
        told = f"{size / 2**20:>9.1f}" if size else f"{'':>9}"
        print(f"{name:<36}{figures}{told}{f'{seconds:>9.0f}' if seconds else '':>9}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kind", choices=list(SINGLES), default="video")
    parser.add_argument("--data", default=str(DATA), help="folder of the real shards validate0000..0089.tfrecord")
    parser.add_argument("--out", type=Path, default=Path("ensemble-out"), help="folder for the runs")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over all trainings")
    arguments = parser.parse_args()
    kind, out = arguments.kind, arguments.out / arguments.kind
    if kind == "video":
        splits = Splits(*(f"{arguments.data}/validate{part}.tfrecord" for part in ("00[0-5]?", "006?", "00[78]?")))
    else:
        splits = made_splits(out)
    study, first = Study(out, splits, arguments.set), next(iter(SINGLES[kind]))
    for name, (recipe, settings) in SINGLES[kind].items():
        kept = ["training.checkpoint_every=14", f"training.keep_checkpoints={AVERAGED}"] if name == first else []
        study.train(name, recipe, *settings, *kept)
    study.average(first)
    study.ensembles(list(SINGLES[kind]))
    recipe, settings = STUDENTS[kind]
    study.student(recipe, *settings)
    if kind == "video":
        study.train("moe, as long as the student", "moe", *_SHORT, "training.epochs=4")
        study.exports("student")
    else:
        study.repeats(first)
    study.exports("ensemble_model")


def made_splits(out: Path) -> Splits:
    """Patterns of made frame-level shards, three samples of one world."""
    for seed, (name, records) in enumerate({"train": 1500, "held_out": 400, "evaluation": 600}.items()):
        if not (out / name).exists():
            synth.write(SyntheticSpec("frame", records, 100, seed, max_frames=60), str(out / name), 4)
    return Splits(*(str(out / name / "*.tfrecord") for name in ("train", "held_out", "evaluation")))


if __name__ == "__main__":
    main()
