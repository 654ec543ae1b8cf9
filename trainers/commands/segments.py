"""Commands on segments of videos."""

import json
from collections.abc import Sequence

import click

from trainers.commands.options import SET, hushed, yt8m_train
from yt8m_data.command_line import OutFile


@yt8m_train.group()
def segments() -> None:
    """Find where in a video a class shows: train on rated segments, evaluate, and write a submission."""


@segments.command("fit")
@click.argument("video_run")
@click.option("--train", multiple=True, required=True, help="Pattern of the shards with rated segments to train on; repeatable.")
@click.option("--eval", "evaluation", multiple=True, required=True, help="Pattern of the shards to evaluate on; repeatable.")
@click.option("--out", type=click.Path(), required=True, help="Run folder; the same command resumes an unfinished one.")
@click.option(
    "--model",
    type=click.Choice(["context_ignorant", "context_aware", "mean"]),
    default="mean",
    show_default=True,
    help="What looks at the segment alone, at the whole video as well, or the mean of both.",
)
@SET
def fit_segments(video_run: str, train: Sequence[str], evaluation: Sequence[str], out: str, model: str, overrides: Sequence[str]) -> None:
    """Train a segment model whose networks begin as those of VIDEO_RUN, a run of `fit` on frame-level shards, and evaluate it."""
    with hushed():
        from trainers.segments import fit as job

    click.echo(json.dumps(job.fit(video_run, train, evaluation, out, model, overrides), indent=2))


@segments.command("evaluate")
@click.argument("run")
@click.option("--data", multiple=True, required=True, help="Pattern of shards with rated segments; repeatable.")
def evaluate_segments(run: str, data: Sequence[str]) -> None:
    """Evaluate the segment model of the folder RUN and print its metrics as JSON."""
    with hushed():
        from trainers.segments import evaluate as job

    click.echo(json.dumps(job.evaluate(run, data), indent=2))


@segments.command("predict")
@click.argument("run")
@click.option("--data", multiple=True, required=True, help="Pattern of frame-level shards; repeatable.")
@click.option("--out", type=OutFile(), required=True, help="CSV: Class, Segments.")
@click.option("--top-k", type=click.IntRange(1), default=20, show_default=True, help="Classes per segment.")
@click.option("--max-segments", type=click.IntRange(1), default=100_000, show_default=True, help="Segments per class.")
@click.option("--classes", type=click.Path(), help="List of the only classes to write: CSV with a column Index, or one number a line.")
def predict_segments(run: str, data: Sequence[str], out: str, top_k: int, max_segments: int, classes: str | None) -> None:
    """Cut every video into segments, and write the best of each class with the segment model of the folder RUN."""
    with hushed():
        from trainers.segments import predict as job

    click.echo(f"{job.predict(run, data, out, top_k, max_segments, classes)} segments in {out}", err=True)
