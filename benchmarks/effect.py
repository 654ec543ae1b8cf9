"""Whether a data policy makes models better: the same recipes on the plain set and by each policy, with intervals, on real shards.

    python benchmarks/effect.py --work effect                       # trains on shards 0000-0069, evaluates on 0070-0089
    python benchmarks/effect.py --work effect --markdown docs/RESULTS.md
    python benchmarks/effect.py --work other --train 'PATTERN' --eval 'PATTERN' --system moe --seeds 1

Every run goes through `trainers.fit` into a folder of --work; what is finished there is not trained again, so a call that was stopped goes
on. A figure is the mean over the seeds. Its interval is that of a paired bootstrap over the evaluation videos: each resample gives the mean
over the seeds for both sides, so the interval holds the sampling of the videos, and of the seeds only what the mean over them leaves.
"""

import argparse
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from beam_jobs import augment, deltas, stats
from beam_jobs.inputs import open_input
from beam_jobs.runners import Engine
from trainers.compare import resample, resampled_average_precisions, resampled_gap
from trainers.correct import correct
from trainers.ensemble import FILE as ENSEMBLE
from trainers.ensemble import ensemble, load
from trainers.evaluate import scored
from trainers.fit import fit
from trainers.metrics import FREQUENCY_BUCKETS, bucket_name, in_bucket
from trainers.neighbors import neighbors
from trainers.run import MODEL
from yt8m_data.sampling import Settings
from yt8m_data.shards import atomic_write, expand, read_json

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "yt8m-2018-video"
LOCAL = Engine("local", 0, ())
RESAMPLES = 500
DELTAS = 20_000

SYSTEMS = {
    "logistic": ("logistic", ()),
    "moe": ("moe", ()),
    "moe_label_layer": ("moe", ("label_layer={name: co_occurrence, beta: 0.01, counts: WORK/stats/cooccurrence.npz}",)),
}
METRICS = ("gap", "map", *(bucket_name(bucket) for bucket in FREQUENCY_BUCKETS))


class Policy(NamedTuple):
    """How a model is trained: on which shards, for how long, and what moves the videos. N stands for the records of the plain set."""

    shards: str  # "plain", or a key of WRITTEN
    epochs: float  # passes over the plain set, so that policies of equal epochs have equal steps
    moved: float = 0  # of these, the first that take videos moved by deltas
    falls: float | None = None  # passes after which the learning rate is 0.3 times as large
    scale: float = 1.0  # of the deltas
    probability: float = 0.8  # that a draw is moved


POLICIES = {
    "plain, 3 epochs": Policy("plain", 3),
    "plain, 6 epochs": Policy("plain", 6, falls=5),
    "delta, 6 epochs": Policy("plain", 6, moved=5, falls=5),
    "plain, 11 epochs": Policy("plain", 11, falls=10),
    "delta, 11 epochs": Policy("plain", 11, moved=10, falls=10, scale=0.7, probability=1.0),
    "plain, 4 epochs": Policy("plain", 4, falls=3),
    "delta, 7 epochs": Policy("plain", 7, moved=5, falls=5),
    "paper, 3 epochs": Policy("paper", 3),
    "extrapolate, 3 epochs": Policy("extrapolate", 3),
}
JOINED = {  # the mean of the scores of two runs: the system's own by a policy, and the logistic regression by another
    "plain, and logistic plain": ("plain, 4 epochs", "plain, 6 epochs"),
    "plain, and logistic delta": ("plain, 4 epochs", "delta, 11 epochs"),
    "delta, and logistic delta": ("delta, 7 epochs", "delta, 11 epochs"),
}
TWIN = "plain, and logistic plain"  # what others that are joined are held against as well
NEIGHBORS, COMPANIONS = ", neighbors", ", companions"  # what is put behind a run; of what is joined, behind each of the two
TREATMENTS = ("", NEIGHBORS, COMPANIONS, NEIGHBORS + COMPANIONS)
WRITTEN = {
    "paper": Settings(policy="paper"),
    "extrapolate": Settings(policy="target", floor=20, methods=("extrapolate",), lambdas=(0.0, 1.0)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for deltas, augmented shards and runs")
    parser.add_argument("--train", default=f"{DATA}/validate00[0-6]?.tfrecord", help="plain training shards")
    parser.add_argument("--eval", default=f"{DATA}/validate00[78]?.tfrecord", help="evaluation shards")
    parser.add_argument("--system", action="append", choices=SYSTEMS, help="may be given again (default: logistic and moe)")
    parser.add_argument(
        "--policy",
        action="append",
        choices=[name + treatment for name in (*POLICIES, *JOINED) for treatment in TREATMENTS],
        metavar="NAME",
        help="may be given again (default: plain ones and delta)",
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--markdown", help="file to append the table to")
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    policies = arguments.policy or [name for name, policy in POLICIES.items() if policy.shards == "plain"]

    study = Study(arguments.work, arguments.train, arguments.eval)
    tables = []
    for system in arguments.system or ["logistic", "moe"]:
        figures = {}
        for policy in policies:
            figures[policy] = np.mean([study.figures(system, policy, seed) for seed in range(arguments.seeds)], axis=0)
            print(f"{system:<18}{policy:<24}" + "".join(f"{value:>8.4f}" for value in figures[policy][:, 0]), flush=True)
        tables.append(table(system, figures))
    text = "\n\n".join(tables)
    print(text)
    if arguments.markdown:
        with open(arguments.markdown, "a") as stream:
            stream.write(text + "\n\n")


class Study:
    """One training and one evaluation set, and what is trained on them."""

    def __init__(self, work: Path, train: str, evaluation: str) -> None:
        self.work, self.train, self.eval = work, train, expand([evaluation])
        if not (work / "stats" / "stats.json").is_file():
            stats.run(open_input([train]), str(work / "stats"), None, LOCAL)
        counted = read_json(work / "stats" / "stats.json")
        self.counts, self.records = np.array(counted["label_counts"]), counted["num_records"]
        if not (work / "deltas" / "manifest.json").is_file():
            deltas.run(open_input([train]), str(work / "deltas"), DELTAS, LOCAL, overwrite=True)

    def figures(self, system: str, policy: str, seed: int) -> np.ndarray:
        """METRICS of a run on the evaluation set and on each resample of it: float64 [metrics, 1 + RESAMPLES]."""
        folder = self.folder(system, policy, seed)
        kept = folder.with_suffix(".npy")
        if not kept.is_file():
            started = time.perf_counter()
            self.finish(system, policy, seed)
            trained = time.perf_counter() - started
            scorer = load(str(folder))
            metrics = scored(scorer.scores(self.eval, 1), self.eval, scorer.layout_for(self.eval))
            weights = resample(metrics.hashes(), RESAMPLES)
            per_class = resampled_average_precisions(metrics, weights)
            there = metrics.positive_counts() > 0
            classes = [there, *(there & in_bucket(self.counts, bucket) for bucket in FREQUENCY_BUCKETS)]
            result = np.stack([resampled_gap(metrics, weights), *(np.nanmean(per_class[some], axis=0) for some in classes)])
            with atomic_write(kept) as stream:
                np.save(stream, result)
            print(f"  {folder.name}: {trained:.0f} s, and {time.perf_counter() - started - trained:.0f} s for the resamples", flush=True)
        return np.load(kept)

    def folder(self, system: str, policy: str, seed: int) -> Path:
        """That of a run."""
        return self.work / f"{system}-{policy.replace(', ', '-').replace(' ', '-')}-{seed}"

    def finish(self, system: str, policy: str, seed: int) -> None:
        """Train a run, put something behind one, or join two, where that is not done yet."""
        folder = self.folder(system, policy, seed)
        if (folder / MODEL).is_file() or (folder / ENSEMBLE).is_file():
            return
        base, treatment = split(policy)
        if base in JOINED:
            members = [(own, f"{part}{treatment}") for own, part in zip((system, "logistic"), JOINED[base], strict=True)]
            for member, own in members:
                self.finish(member, own, seed)
            ensemble([str(self.folder(member, own, seed)) for member, own in members], str(folder))
        elif treatment.endswith(COMPANIONS):
            run = self.finished(system, policy.removesuffix(COMPANIONS), seed)
            correct(run, str(folder), str(self.work / "stats" / "cooccurrence.npz"))
        elif treatment:
            neighbors(self.finished(system, base, seed), str(folder))
        else:
            fit(SYSTEMS[system][0], [self.shards(policy)], list(self.eval), str(folder), list(self.settings(system, policy, seed)))

    def finished(self, system: str, policy: str, seed: int) -> str:
        """The folder of a run, which is finished."""
        self.finish(system, policy, seed)
        return str(self.folder(system, policy, seed))

    def shards(self, policy: str) -> str:
        """The pattern of a policy's training shards, which are written where they are not yet."""
        name = POLICIES[policy].shards
        if name == "plain":
            return self.train
        folder = self.work / name
        if not (folder / "manifest.json").is_file():
            counts = str(self.work / "stats" / "stats.json")
            augment.write(open_input([self.train]), WRITTEN[name], augment.Output(str(folder), overwrite=True), LOCAL, counts).conclude()
        return f"{folder}/*.tfrecord"

    def settings(self, system: str, policy: str, seed: int) -> Iterator[str]:
        """The settings of a run over those of its recipe."""
        how = POLICIES[policy]
        batches = self.records / 256
        yield from (setting.replace("WORK", str(self.work)) for setting in SYSTEMS[system][1])
        yield from (f"training.seed={seed}", f"training.steps={round(how.epochs * batches)}", "training.precision=mixed_bfloat16")
        if how.falls:
            yield from ("training.decay=0.3", f"training.decay_examples={round(how.falls * batches) * 256}")
        if how.moved:
            steps, file = round(how.moved * batches), self.work / "deltas" / "deltas.arrow"
            yield f"input.move={{deltas: {file}, scale: {how.scale}, probability: {how.probability}, steps: {steps}}}"


def split(policy: str) -> tuple[str, str]:
    """A key of POLICIES or JOINED, and what is put behind its runs."""
    base = policy.removesuffix(COMPANIONS).removesuffix(NEIGHBORS)
    return base, policy.removeprefix(base)


def table(system: str, figures: dict[str, np.ndarray]) -> str:
    """Markdown: the figures of each policy, and below each its difference from the best plain one with its interval, in points.

    What is treated is also held against that plain one treated so, and what is joined against plain ones joined, where these are there.
    """
    untreated = [name for name in figures if name in POLICIES and name.startswith("plain")]
    plain = max(untreated, key=lambda name: figures[name][0, 0])
    columns = [f"`{system}`", "GAP@20", "MAP", *(f"MAP {name}" for name in METRICS[2:])]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for name, values in figures.items():
        lines.append(f"| {name} | " + " | ".join(f"{value:.4f}" for value in values[:, 0]) + " |")
        base, treatment = split(name)
        others = [plain, plain + treatment] + [TWIN + treatment] * (base in JOINED)
        for other in dict.fromkeys(others):
            if name not in untreated and other in figures and other != name:
                lines.append(f"| less {other} | " + " | ".join(map(interval, values - figures[other])) + " |")
    return "\n".join(lines)


def interval(differences: Sequence[float] | Any) -> str:
    """A difference and the middle 95 % of those of the resamples, in points of a hundred; bold where 0 is outside."""
    low, high = 100 * np.quantile(differences[1:], [0.025, 0.975])
    text = f"{100 * differences[0]:+.2f} ({low:+.2f} to {high:+.2f})"
    return f"**{text}**" if low > 0 or high < 0 else text


if __name__ == "__main__":
    main()
