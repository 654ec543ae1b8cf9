"""Commands that make a model of trained ones: average, neighbors, correct, ensemble and export."""

import json
from collections.abc import Sequence
from typing import Any

import click

from trainers.commands.options import REPEAT, hushed, yt8m_train


@yt8m_train.command()
@click.argument("run")
@click.option("--out", type=click.Path(), required=True, help="Folder of the averaged run.")
@click.option("--last", type=click.IntRange(1), default=5, show_default=True, help="Checkpoints; training.keep_checkpoints keeps them.")
@click.option(
    "--batch-norm",
    type=click.IntRange(1),
    metavar="BATCHES",
    help="Take batch norm's statistics anew from so many training batches.  [default: average those of the checkpoints]",
)
def average(run: str, out: str, last: int, batch_norm: int | None) -> None:
    """Average the weights of the last checkpoints of RUN into a run of its own."""
    with hushed():
        from trainers import average as job

    steps = job.average(run, out, last, batch_norm)
    click.echo(f"the mean of the weights at steps {', '.join(map(str, steps))} in {out}", err=True)


@yt8m_train.command()
@click.argument("run")
@click.option("--out", type=click.Path(), required=True, help="Folder of the new run.")
@click.option("--data", multiple=True, help="Pattern of the shards whose videos vote; repeatable.  [default: those of RUN's training]")
@click.option("--neighbors", "number", type=click.IntRange(1), default=50, show_default=True, help="Videos that vote on one.")
@click.option("--temperature", type=float, default=0.05, show_default=True, help="The smaller, the more the nearest ones count.")
@click.option("--weight", type=float, default=0.33, show_default=True, help="Of the votes in the scores; 0 changes nothing.")
@click.option(
    "--visual", type=float, default=0.85, show_default=True, help="Share of the first feature in the likeness of two videos' features."
)
@click.option("--scores", type=float, default=0.3, show_default=True, help="Share of RUN's own scores in the similarity of two videos.")
@click.option("--most", type=click.IntRange(1), default=1 << 18, show_default=True, help="Videos to hold; of more, a random choice.")
def neighbors(run: str, out: str, data: Sequence[str], **options: Any) -> None:
    """Mix RUN's scores with the labels of the nearest training videos, which the new run holds."""
    with hushed():
        from trainers import neighbors as job

    videos = job.neighbors(run, out, data, **options)
    click.echo(f"{videos:,} videos vote in {out}", err=True)


@yt8m_train.command()
@click.argument("run")
@click.option("--counts", type=click.Path(), required=True, help="The cooccurrence.npz that `yt8m-data stats` makes of the training set.")
@click.option("--out", type=click.Path(), required=True, help="Folder of the corrected run.")
@click.option("--share", type=float, default=0.6, show_default=True, help="Of a class's videos, at least so many carry a companion.")
@click.option("--power", type=float, default=0.8, show_default=True, help="Of the companions' scores; 0 changes nothing.")
@click.option("--most", type=int, default=9, show_default=True, help="Training videos of a class whose scores are corrected.")
def correct(run: str, counts: str, out: str, share: float, power: float, most: int) -> None:
    """Multiply RUN's scores of rare classes by those of the labels that come with them, as a run of its own."""
    with hushed():
        from trainers import correct as job

    pairs = job.correct(run, out, counts, share, power, most)
    click.echo(f"{pairs:,} pairs of a class and a companion in {out}", err=True)


@yt8m_train.command()
@click.argument("members", nargs=-1, required=True)
@click.option("--out", type=click.Path(), required=True, help="Folder of the ensemble.")
@click.option(
    "--weights",
    default="equal",
    show_default=True,
    help="equal; model or class: learned per model, or per model and class; or the folder of an ensemble whose weights to take.",
)
@click.option("--data", multiple=True, help="Pattern of labelled shards that no member was trained on, to learn the weights; repeatable.")
@REPEAT
def ensemble(members: Sequence[str], out: str, weights: str, data: Sequence[str], repeat: int) -> None:
    """Join MEMBERS, run folders or Parquet files of predict, to one model."""
    with hushed():
        from trainers import ensemble as job

    kept = job.ensemble(members, out, weights, data, repeat)
    click.echo(json.dumps(job.summary(kept), indent=2))


@yt8m_train.command()
@click.argument("folder")
@click.option("--out", type=click.Path(), required=True, help="The SavedModel's folder, or the TFLite file.")
@click.option("--format", "form", type=click.Choice(["saved_model", "tflite"]), default="saved_model", show_default=True)
@click.option("--bfloat16", is_flag=True, help="Store weights in half the bytes; they are float32 again when the model runs.")
@click.option("--max-bytes", metavar="SIZE", help="Refuse to leave more than this, as in 1GB, 500MB or 1GiB.")
def export(folder: str, out: str, form: str, bfloat16: bool, max_bytes: str | None) -> None:
    """Export the run or the whole ensemble in FOLDER as one model that needs TensorFlow alone."""
    with hushed():
        from trainers import export as job

    size = job.export(folder, out, form, bfloat16, job.parse_size(max_bytes) if max_bytes else None)
    click.echo(f"{size:,} bytes in {out}", err=True)
