"""Kill a training ten times and compare it with one that was left alone: `python benchmarks/resume.py [--kills 10] [--seed 0]`.

The run is of made frame-level videos through everything that a step may change: batch norm, dropout, centres, noise, frames drawn anew,
averaged weights. Each life ends by SIGKILL some milliseconds after a random step, so also within a checkpoint or an evaluation; the same
command goes on. At the end weights must be bitwise equal, and metrics.csv the same, row by row.
"""

import argparse
import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from yt8m_data import synth
from yt8m_data.synthetic import SyntheticSpec

STEPS = 150
SETTINGS = [
    "pooling={name: netvlad, clusters: 8}",
    "encoders=[{name: dense, size: 32, batch_norm: true}, {name: context_gating}]",
    "regularizers=[{name: center}]",
    "input.adaptive_noise=1",
    "frames={sample: random, count: 20}",
    "training.batch_size=32",
    f"training.steps={STEPS}",
    "training.checkpoint_every=7",
    "training.eval_every=25",
    "training.ema=0.9",
    "training.clipnorm=1",
    "training.warmup_steps=10",
]
LIFE = """
    import os, random, signal, sys, threading
    from trainers import fit as module
    kill_at, delay = int(sys.argv[1]), float(sys.argv[2])
    make = module.train_step
    def train_step(assembly, optimizer, *rest):
        step = make(assembly, optimizer, *rest)
        armed = [kill_at > 0]
        def counted(batch):
            loss = step(batch)
            if armed[0] and int(optimizer.iterations) >= kill_at:  # the life before may have come further
                armed[0] = False
                threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
            return loss
        return counted
    module.train_step = train_step
    module.fit("moe", [sys.argv[3]], [sys.argv[4]], sys.argv[5], sys.argv[6:])
"""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for split, records, seed in (("train", 300, 0), ("eval", 100, 1)):
            synth.write(SyntheticSpec("frame", records, 40, seed, 40), str(folder / split), 3)
        whole, broken = folder / "whole", folder / "broken"
        assert live(folder, whole) == 0
        told = []
        for step in sorted(rng.sample(range(1, STEPS - 30), given.kills)):  # so that there is a step left to kill
            delay = rng.uniform(0, 0.1)
            code = live(folder, broken, step, delay)
            assert code == -signal.SIGKILL, f"the life to step {step} ended with {code}"
            told.append(f"{step} + {delay * 1000:.0f} ms")
        assert live(folder, broken) == 0
        compare(whole, broken)
    print(f"killed after the steps {', '.join(told)}: weights bitwise equal, metrics.csv the same")


def live(folder: Path, run: Path, kill_at: int = -1, delay: float = 0.0) -> int:
    """Train until the end, or until killed; the exit code."""
    data = [str(folder / split / "*.tfrecord") for split in ("train", "eval")]
    code = [sys.executable, "-c", textwrap.dedent(LIFE), str(kill_at), str(delay), *data, str(run), *SETTINGS]
    return subprocess.run(code, stderr=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}).returncode


def compare(whole: Path, broken: Path) -> None:
    import numpy as np

    from trainers.run import load_run

    rows = [list(csv.reader((run / "metrics.csv").open(newline=""))) for run in (whole, broken)]
    assert rows[0] == rows[1], "metrics.csv differs"
    weights = [load_run(str(run)).model.get_weights() for run in (whole, broken)]
    assert len(weights[0]) == len(weights[1])
    for one, other in zip(*weights, strict=True):
        np.testing.assert_array_equal(one, other)


if __name__ == "__main__":
    main()
