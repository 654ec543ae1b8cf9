"""Segment models on made videos, of which some rated classes need the context: MAP of the two models and of their means.

    python benchmarks/segments.py --sets 3
    python benchmarks/segments.py --sets 3 --local   # no class needs the context

A set has its own patterns, 1,600 videos to train on and 1,000 (4,000 rated segments) to evaluate; see tests/trainers/planted_segments.py.
The context-aware and the context-ignorant model are the halves of the mean that learns with a loss for each, which are what they are alone.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "trainers"))

import keras
import planted_segments

from trainers import fit as videos
from trainers.segments import fit
from trainers.segments.evaluate import score
from trainers.segments.run import layout_of, load_run
from yt8m_data.shards import expand

MEANS = {"logits": ["mean_of=logits"], "probabilities": ["mean_of=probabilities"]}
JOINT = {f"{name}, joint loss": [*settings, "joint=true"] for name, settings in MEANS.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", type=int, default=1)
    parser.add_argument("--local", action="store_true")
    parser.add_argument("--joint", action="store_true", help="the loss of the mean as well")
    arguments = parser.parse_args()
    columns = ["ignorant", "aware", *MEANS, *(JOINT if arguments.joint else [])]
    print(f"{'set':<5}" + "".join(f"{name:>{max(10, len(name) + 2)}}" for name in columns))
    for world in range(arguments.sets):
        with tempfile.TemporaryDirectory() as folder:
            found = of_set(Path(folder), world, not arguments.local, arguments.joint)
        print(f"{world:<5}" + "".join(f"{found[name]:>{max(10, len(name) + 2)}.4f}" for name in columns), flush=True)


def of_set(folder: Path, world: int, needs_context: bool, joint: bool) -> dict[str, float]:
    """MAP of each model on one set of videos."""
    train = planted_segments.write(folder, "train", planted_segments.make(1600, 0, needs_context, world), 3)
    evaluation = planted_segments.write(folder, "eval", planted_segments.make(1000, 1, needs_context, world), 2)
    videos.fit("gated_netvlad", [train], [evaluation], str(folder / "video"), planted_segments.VIDEO)

    def fitted(name: str, settings: list[str]) -> float:
        given = [*planted_segments.SEGMENTS, "training.steps=150", *settings]
        return fit.fit(str(folder / "video"), [train], [evaluation], str(folder / name), "mean", given)["map_at_k"]

    found = {name: fitted(name, settings) for name, settings in (JOINT if joint else {}).items()}
    found["logits"] = fitted("logits", [])
    run, files = load_run(str(folder / "logits")), expand([evaluation])
    aware, ignorant = run.model.get_layer("mean").input
    models = {"aware": aware, "ignorant": ignorant, "probabilities": keras.layers.Average()([aware, ignorant])}
    for name, output in models.items():
        part = keras.Model(run.model.input, output)
        found[name] = score(part, files, layout_of(run.settings, files), 300)["map_at_k"]
    return found


if __name__ == "__main__":
    main()
