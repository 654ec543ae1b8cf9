"""Command line: parse, call one function, print. Results go to stdout, progress and errors to stderr.

Beam and TensorFlow take seconds to import, so a command imports its job when it runs.
"""

import contextlib
import json
import logging
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from yt8m_data import __version__
from yt8m_data.errors import DataError


class _Failure(click.ClickException):
    """A wrong use or a bad input: one sentence, exit status 2."""

    exit_code = 2


class _Commands(click.Group):
    """A group that turns DataError into one sentence, and keeps what stands behind `--` for Beam."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--" in args:
            cut = args.index("--")
            args, ctx.meta["beam_options"] = args[:cut], args[cut + 1 :]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        logging.basicConfig(level=logging.ERROR, format="%(message)s")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            return super().invoke(ctx)
        except DataError as error:
            raise _Failure(str(error)) from None


def _options(*options: Callable) -> Callable:
    """Join options to one decorator."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


_INPUT = _options(
    click.option(
        "--num-classes", type=click.IntRange(1), help="Number of classes.  [default: that of the data set whose keys the records have]"
    ),
    click.option(
        "--on-bad-record",
        type=click.Choice(["fail", "skip"]),
        default="fail",
        show_default=True,
        help="Stop at a bad record, or leave it out.",
    ),
    click.option("--max-bad-fraction", type=float, default=0.001, show_default=True, help="With skip: stop all the same above this share."),
)
_VOCABULARY = click.option("--vocabulary", type=click.Path(), help="CSV with Index and Name: class names, and their number.")
_ENGINE = _options(
    click.option(
        "--runner", default="local", show_default=True, help="local, dataflow, flink, spark or prism; options behind -- go to Beam."
    ),
    click.option("--workers", type=int, default=0, help="Local processes.  [default: 1, or all cores for large inputs]"),
)
_OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace an earlier output.")


@click.group(cls=_Commands)
@click.version_option(__version__)
def yt8m_data() -> None:
    """Look at, check and rebalance shards of YouTube-8M features."""


@yt8m_data.command()
@click.argument("out", type=click.Path())
@click.option("--kind", type=click.Choice(["video", "frame"]), default="video", show_default=True)
@click.option("--records", type=int, required=True, help="Number of videos.")
@click.option("--shards", type=int, default=10, show_default=True)
@click.option("--classes", type=int, default=3862, show_default=True)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Another sample of the same world: train on one seed, evaluate on another."
)
@click.option("--max-frames", type=int, default=300, show_default=True, help="With --kind frame: length of the longest video.")
@click.option("--name", default="train", show_default=True, help="Start of the shards' names.")
@_OVERWRITE
def synth(out: str, kind: Any, records: int, shards: int, classes: int, seed: int, max_frames: int, name: str, overwrite: bool) -> None:
    """Make shards with YouTube-8M's formats, sizes, label law and co-occurrence."""
    from yt8m_data import synth as job
    from yt8m_data.synthetic import SyntheticSpec

    spec = SyntheticSpec(kind, records, classes, seed, max_frames)
    manifest = job.write(spec, out, shards, name, overwrite)
    click.echo(f"{manifest['records']} records in {len(manifest['shards'])} shards in {out}")


@yt8m_data.command()
@click.argument("patterns", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(),
    required=True,
    help="Folder for stats.json, label_counts.csv, cooccurrence.npz, zipf.png and cooccurrence.png.",
)
@_VOCABULARY
@_INPUT
@_ENGINE
@_OVERWRITE
@click.pass_context
def stats(ctx: click.Context, patterns: tuple[str, ...], out: str, vocabulary: str | None, overwrite: bool, **options: Any) -> None:
    """Count labels, their co-occurrence and the features' moments; draw the Zipf plot."""
    from beam_jobs import stats as job
    from yt8m_data.report import text

    source, names = _open(patterns, vocabulary, options)
    result = job.run(source, out, names, _engine(ctx, options), overwrite)
    click.echo(text.statistics(result, names))


@yt8m_data.command()
@click.argument("patterns", nargs=-1, required=True)
@click.argument("out", type=click.Path())
@click.option("--policy", default="paper", show_default=True, help="paper, authors or target.")
@click.option(
    "--threshold",
    default="auto",
    show_default=True,
    help="Count that parts over- from sub-sampled labels; auto scales 10,000 with the data.",
)
@click.option("--method", default="interpolate,extrapolate", show_default=True, help="What is made with each neighbour; also noise.")
@click.option(
    "--lambda",
    "factor",
    default="0.5",
    show_default=True,
    help="Factor of inter- and extrapolation, or a range to draw it from, as in 0.2:0.8.",
)
@click.option("--sigma", type=float, default=0.03, show_default=True, help="Standard deviation of the noise.")
@click.option(
    "--labels", default="base", show_default=True, help="Labels of a synthetic video: base, intersection or union (with the neighbour's)."
)
@click.option("--hold", multiple=True, metavar="FEATURE", help="Copy this feature from the base instead of moving it; repeatable.")
@click.option("--cap", type=float, help="Policy target: sub-sample labels above this count.")
@click.option("--floor", type=float, help="Policy target: over-sample labels below this count.")
@click.option("--power", type=float, default=1.0, show_default=True, help="Policy target: aim at n_max (n / n_max) ** power.")
@click.option("--counts", type=click.Path(), help="A stats.json to plan with, instead of counting first.")
@click.option(
    "--pool",
    type=click.Choice(["global", "chunk"]),
    default="global",
    show_default=True,
    help="Neighbours in the whole input, or in chunks of files.",
)
@click.option("--chunk-shards", type=click.IntRange(1), default=256, show_default=True, help="Files in a chunk.")
@click.option("--num-shards", type=click.IntRange(0), default=0, help="Shards to write.  [default: as many as are read]")
@click.option("--name", default="train", show_default=True, help="Start of the shards' names.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--dry-run", is_flag=True, help="Print the plan and the counts to expect, and write nothing.")
@_VOCABULARY
@_INPUT
@_ENGINE
@_OVERWRITE
@click.pass_context
def augment(ctx: click.Context, patterns: tuple[str, ...], out: str, **options: Any) -> None:
    """Over-sample rare labels with synthetic videos, sub-sample common ones, and write shuffled shards into OUT."""
    from beam_jobs import augment as job
    from yt8m_data import sampling
    from yt8m_data.report import text

    settings = sampling.Settings(
        policy=options["policy"],
        threshold=sampling.parse_threshold(options["threshold"]),
        methods=tuple(options["method"].split(",")),
        lambdas=sampling.parse_range(options["factor"]),
        **{key: options[key] for key in ("sigma", "labels", "hold", "cap", "floor", "power", "seed")},
    )
    source, names = _open(patterns, options["vocabulary"], options)
    engine = _engine(ctx, options)
    if options["dry_run"]:
        plan, expected, records = job.dry_run(source, settings, engine, options["counts"])
        click.echo(text.plan(plan, expected, records, names))
        return
    chunk = options["chunk_shards"] if options["pool"] == "chunk" else None
    output = job.Output(out, options["name"], options["num_shards"], chunk, options["overwrite"])
    manifest = job.run(source, settings, output, engine, options["counts"])
    click.echo(text.books(manifest["totals"]))


@yt8m_data.command()
@click.argument("patterns", nargs=-1, required=True)
@click.option(
    "--num-classes", type=click.IntRange(1), help="Number of classes.  [default: that of the data set whose keys the records have]"
)
@_ENGINE
@click.pass_context
def validate(ctx: click.Context, patterns: tuple[str, ...], num_classes: int | None, **options: Any) -> None:
    """Check every record and print what was found as JSON; exit status 1 if anything was."""
    from beam_jobs import inputs
    from beam_jobs import validate as job

    result = job.run(inputs.open_input(patterns, num_classes, skip_bad=True, max_bad_fraction=1), _engine(ctx, options))
    click.echo(json.dumps(result, indent=2))
    ctx.exit(0 if result["ok"] else 1)


@yt8m_data.command()
@click.argument("augmented", type=click.Path())
@click.option("--run", "runs", multiple=True, metavar="NAME=DIR", help="A run of yt8m-train to show; repeatable.")
@click.option("--out", type=click.Path(), required=True, help="The HTML file.")
@_VOCABULARY
def report(augmented: str, runs: tuple[str, ...], out: str, vocabulary: str | None) -> None:
    """Write one HTML page on the output of augment in the folder AUGMENTED and on what was trained."""
    from yt8m_data import vocabulary as vocabularies
    from yt8m_data.report import collect

    command = shlex.join(["yt8m-data", *sys.argv[1:]])
    collect.write(augmented, runs, out, vocabularies.read(vocabulary) if vocabulary else None, command)
    click.echo(out)


@yt8m_data.command()
@click.option("--out", type=click.Path(), default="demo-out", show_default=True, help="Folder for everything that the demo makes.")
def demo(out: str) -> None:
    """Run the whole path: made shards (or those of YT8M_DATA), stats, augment, fit, evaluate, report."""
    from yt8m_data import demo as job

    job.run(out)


@click.group(cls=_Commands)
@click.version_option(__version__)
def yt8m_train() -> None:
    """Train, evaluate and use models on shards of YouTube-8M features."""


@yt8m_train.command()
def recipes() -> None:
    """List the recipes."""
    from trainers import recipe

    for name in recipe.names():
        click.echo(f"{name:12} {recipe.load(name).description}")


@yt8m_train.command()
@click.argument("recipe")
@click.option("--train", multiple=True, required=True, help="Pattern of the shards to train on; repeatable.")
@click.option("--eval", "evaluation", multiple=True, required=True, help="Pattern of the shards to evaluate on; repeatable.")
@click.option("--out", type=click.Path(), required=True, help="Run folder; the same command resumes an unfinished one.")
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe, as in training.epochs=5; repeatable."
)
def fit(recipe: str, train: Sequence[str], evaluation: Sequence[str], out: str, overrides: Sequence[str]) -> None:
    """Train RECIPE (a name, or a YAML file) and evaluate it."""
    with _hushed():
        from trainers import fit as job

    click.echo(json.dumps(job.fit(recipe, train, evaluation, out, overrides), indent=2))


@yt8m_train.command()
@click.argument("run")
@click.option("--data", multiple=True, required=True, help="Pattern of labelled shards; repeatable.")
def evaluate(run: str, data: Sequence[str]) -> None:
    """Evaluate the model of the folder RUN and print its metrics as JSON."""
    with _hushed():
        from trainers import evaluate as job

    click.echo(json.dumps(job.evaluate(run, data), indent=2))


@yt8m_train.command()
@click.argument("run")
@click.option("--data", multiple=True, required=True, help="Pattern of the shards; repeatable.")
@click.option("--out", type=click.Path(), required=True, help="CSV: VideoId, LabelConfidencePairs.")
@click.option("--top-k", type=click.IntRange(1), default=20, show_default=True, help="Classes per video.")
def predict(run: str, data: Sequence[str], out: str, top_k: int) -> None:
    """Predict with the model of the folder RUN."""
    with _hushed():
        from trainers import predict as job

    click.echo(f"{job.predict(run, data, out, top_k)} videos in {out}", err=True)


def _open(patterns: Sequence[str], vocabulary: str | None, options: dict[str, Any]) -> tuple[Any, dict[int, str] | None]:
    """Open the input and the vocabulary; say what the records hold."""
    from beam_jobs import inputs
    from yt8m_data import vocabulary as vocabularies

    names = vocabularies.read(vocabulary) if vocabulary else None
    classes = options["num_classes"] or (len(names) if names else None)
    source = inputs.open_input(patterns, classes, options["on_bad_record"] == "skip", options["max_bad_fraction"])
    click.echo(f"{len(source.files)} files of {source.schema}", err=True)
    return source, names


@contextlib.contextmanager
def _hushed() -> Iterator[None]:
    """Drop what C++ code writes to stderr while TensorFlow is imported: notes on its build. What fails is raised all the same."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    except ModuleNotFoundError as error:
        raise DataError(f"{error.name} is not installed: pip install 'yt8m-data[cpu]', or 'yt8m-data[gpu]' where there is a GPU") from None
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _engine(ctx: click.Context, options: dict[str, Any]) -> Any:
    from beam_jobs import runners

    return runners.Engine(options["runner"], options["workers"], ctx.meta.get("beam_options", ()))
