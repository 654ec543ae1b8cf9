"""Commands on one run: fit, evaluate, compare and predict."""

import json
from collections.abc import Sequence
from typing import Any

import click

from trainers.commands.options import LABELLED, REPEAT, SET, hushed, yt8m_train
from yt8m_data.command_line import OutFile

COUNTS = click.option(
    "--counts", type=click.Path(), help="A stats.json whose counts sort classes by frequency.  [default: the training set's]"
)


@yt8m_train.command()
@click.argument("recipe")
@click.option("--train", multiple=True, required=True, help="Pattern of the shards to train on; repeatable.")
@click.option("--eval", "evaluation", multiple=True, required=True, help="Pattern of the shards to evaluate on; repeatable.")
@click.option("--out", type=click.Path(), required=True, help="Run folder; the same command resumes an unfinished one.")
@click.option("--time-limit", type=float, metavar="MINUTES", help="Stop then, with a checkpoint and exit status 3.")
@click.option(
    "--strategy",
    default="one",
    show_default=True,
    help="one; mirrored: all GPUs of this machine; multi_worker: the processes that TF_CONFIG lists, each started with this command.",
)
@SET
@click.pass_context
def fit(
    ctx: click.Context,
    recipe: str,
    train: Sequence[str],
    evaluation: Sequence[str],
    out: str,
    time_limit: float | None,
    strategy: str,
    overrides: Sequence[str],
) -> None:
    """Train RECIPE (a name, or a YAML file) and evaluate it."""
    with hushed():
        from trainers import fit as job

    seconds = None if time_limit is None else time_limit * 60
    metrics = job.fit(recipe, train, evaluation, out, overrides, seconds, strategy)
    if metrics:
        click.echo(json.dumps(metrics, indent=2))
    elif seconds is not None:
        ctx.exit(3)


@yt8m_train.command()
@click.argument("folder")
@LABELLED
@COUNTS
@click.option("--per-class", type=OutFile(), metavar="CSV", help="Write each class's counts and average precision.")
@click.option("--reliability", type=OutFile(), metavar="CSV", help="Write how often pairs of each probability are true.")
@click.option("--out", type=OutFile(), metavar="JSON", help="Write the metrics there too, for yt8m-data report --run.")
@REPEAT
def evaluate(folder: str, data: Sequence[str], **options: Any) -> None:
    """Evaluate the run or the ensemble in FOLDER and print its metrics as JSON."""
    with hushed():
        from trainers import evaluate as job

    click.echo(json.dumps(job.evaluate(folder, data, **options), indent=2))


@yt8m_train.command("compare")
@click.argument("a")
@click.argument("b")
@LABELLED
@COUNTS
@click.option("--resamples", type=click.IntRange(2), default=1000, show_default=True, help="Of the videos.")
@click.option("--seed", type=int, default=0, show_default=True)
@REPEAT
def compare_runs(a: str, b: str, data: Sequence[str], **options: Any) -> None:
    """Compare the runs or ensembles in folders A and B on the same videos: metrics, differences, and their paired bootstrap, as JSON."""
    with hushed():
        from trainers import compare as job

    click.echo(json.dumps(job.compare(a, b, data, **options), indent=2))


@yt8m_train.command()
@click.argument("folder")
@click.option("--data", multiple=True, required=True, help="Pattern of the shards; repeatable.")
@click.option("--out", type=OutFile(), required=True, help="FILE.csv, the challenge's VideoId,LabelConfidencePairs, or FILE.parquet.")
@click.option("--top-k", type=click.IntRange(1), help="Best classes per video.  [default: 20 in a CSV, all scores in Parquet]")
@REPEAT
def predict(folder: str, data: Sequence[str], out: str, top_k: int | None, repeat: int) -> None:
    """Predict with the run or the ensemble in FOLDER."""
    with hushed():
        from trainers import predict as job

    click.echo(f"{job.predict(folder, data, out, top_k, repeat)} videos in {out}", err=True)
