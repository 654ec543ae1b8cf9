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
_STATS_OUT = click.option(
    "--out", type=click.Path(), required=True, help="Folder for stats.json, its tables and matrices, and report.html."
)
_REPORT = click.option("--report/--no-report", default=True, show_default=True, help="Write report.html, with its plots, as well.")
_IMPORT = click.option(
    "--import", "imports", multiple=True, metavar="MODULE", help="Python module that registers statistics of your own; repeatable."
)


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
@_STATS_OUT
@click.option(
    "--features/--no-features",
    default=None,
    help="Look at the features; or at ids and labels alone, for which little of a frame-level shard is read.  [default: at video level]",
)
@click.option("--verify", is_flag=True, help="Read frame-level shards whole, and check all checksums, even without --features.")
@click.option(
    "--sample", type=float, default=1.0, show_default=True, metavar="FRACTION", help="Count this share of the videos, by their ids."
)
@click.option(
    "--slice-by",
    type=click.Choice(["shard", "vertical", "synthetic"]),
    help="Count parts as well: each file, each vertical (Vertical1 of the vocabulary), or each way that videos were made.",
)
@click.option("--label-means", is_flag=True, help="Compute the mean vector of the videos with each label as well.")
@_IMPORT
@_REPORT
@_VOCABULARY
@_INPUT
@_ENGINE
@_OVERWRITE
@click.pass_context
def stats(
    ctx: click.Context, patterns: tuple[str, ...], out: str, vocabulary: str | None, overwrite: bool, report: bool, **options: Any
) -> None:
    """Count labels, their pairs and sets, lengths and the features' moments in one pass; measure the imbalance and fit the Zipf law."""
    from beam_jobs import stats as job
    from yt8m_data import statistics
    from yt8m_data import vocabulary as vocabularies
    from yt8m_data.report import collect, text

    statistics.import_modules(options["imports"])
    verticals = vocabularies.read_verticals(vocabulary) if vocabulary and options["slice_by"] == "vertical" else {}
    request = job.Request(**{key: options[key] for key in ("features", "verify", "sample", "label_means", "slice_by")}, verticals=verticals)
    source, names = _open(patterns, vocabulary, options)
    result = job.run(source, out, names, _engine(ctx, options), overwrite, request)
    if report:
        collect.write([out], names=names, command=_command())
    click.echo(text.statistics(result, names))


@yt8m_data.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path())
@_STATS_OUT
@_IMPORT
@_REPORT
@_VOCABULARY
@_OVERWRITE
def merge_stats(
    folders: tuple[str, ...], out: str, imports: tuple[str, ...], report: bool, vocabulary: str | None, overwrite: bool
) -> None:
    """Add up the outputs of stats in FOLDERS: exactly what stats would count on all their shards together."""
    from yt8m_data import statistics
    from yt8m_data import vocabulary as vocabularies
    from yt8m_data.report import collect, text
    from yt8m_data.statistics import folder

    statistics.import_modules(imports)
    names = vocabularies.read(vocabulary) if vocabulary else None
    result = folder.merge(folders, out, names, overwrite)
    if report:
        collect.write([out], names=names, command=_command())
    click.echo(text.statistics(result, names))


@yt8m_data.command()
@click.argument("a", type=click.Path())
@click.argument("b", type=click.Path())
@click.option("--max-linf", type=float, default=0.01, show_default=True, help="Largest difference of a label's share of the occurrences.")
@click.option("--max-js", type=float, default=0.01, show_default=True, help="Jensen-Shannon divergence of the labels, in bits.")
@click.option("--max-shift", type=float, default=0.1, show_default=True, help="Shift of a dimension's mean, in standard deviations.")
@click.option(
    "--max-spread", type=float, default=0.2, show_default=True, help="Change of a dimension's standard deviation, in powers of 2."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@_VOCABULARY
@click.pass_context
def compare(ctx: click.Context, a: str, b: str, as_json: bool, vocabulary: str | None, **limits: float) -> None:
    """Compare the outputs of stats A and B (folders, or their stats.json): exit status 1 where they differ by more than the thresholds.

    What chance explains at their sizes is allowed on top.
    """
    from yt8m_data import compare as job
    from yt8m_data import vocabulary as vocabularies
    from yt8m_data.report import text

    names = vocabularies.read(vocabulary) if vocabulary else None
    thresholds = job.Thresholds(**{name.removeprefix("max_"): value for name, value in limits.items()})
    result = {"a": a, "b": b, **job.compare(job.read(a), job.read(b), thresholds)}
    click.echo(json.dumps(result, indent=2) if as_json else text.comparison(result, names))
    ctx.exit(0 if result["ok"] else 1)


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
    from yt8m_data.report import collect, text

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
    collect.write([out], names=names, command=_command())
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
@click.argument("folders", nargs=-1, required=True, type=click.Path())
@click.option("--run", "runs", multiple=True, metavar="NAME=DIR", help="A run of yt8m-train to show; repeatable.")
@click.option("--out", type=click.Path(), help="The HTML file.  [default: report.html in the last folder]")
@_VOCABULARY
def report(folders: tuple[str, ...], runs: tuple[str, ...], out: str | None, vocabulary: str | None) -> None:
    """Write one HTML page on FOLDERS: the output of stats or of augment, or two outputs of stats, before and after."""
    from yt8m_data import vocabulary as vocabularies
    from yt8m_data.report import collect

    names = vocabularies.read(vocabulary) if vocabulary else None
    click.echo(collect.write(folders, out, runs, names, _command()))


@yt8m_data.command()
@click.option("--out", type=click.Path(), default="demo-out", show_default=True, help="Folder for everything that the demo makes.")
def demo(out: str) -> None:
    """Run the whole path: made shards (or those of YT8M_DATA), stats, augment, fit, evaluate, report."""
    from yt8m_data import demo as job

    job.run(out)


_SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe, as in training.epochs=5; repeatable."
)

_LABELLED = click.option("--data", multiple=True, required=True, help="Pattern of labelled shards; repeatable.")
_COUNTS = click.option(
    "--counts", type=click.Path(), help="A stats.json whose counts sort classes by frequency.  [default: the training set's]"
)


@click.group(cls=_Commands)
@click.version_option(__version__)
def yt8m_train() -> None:
    """Train, evaluate and use models on shards of YouTube-8M features."""


@yt8m_train.command()
@click.option("--json", "as_json", is_flag=True, help="Whole recipes, for programs.")
def recipes(as_json: bool) -> None:
    """List the recipes: name, components, weights, and the figures published for them."""
    from trainers import recipe

    known = [recipe.load(name) for name in recipe.names()]
    if as_json:
        click.echo(json.dumps([{**each.model_dump(mode="json"), "components": each.components} for each in known], indent=2))
    else:
        click.echo(recipe.table(known))


@yt8m_train.command()
@click.argument("recipe")
@_SET
def describe(recipe: str, overrides: Sequence[str]) -> None:
    """Print the layers of RECIPE with their shapes and numbers of weights, for the records that it was published on."""
    with _hushed():
        from trainers import describe as job

    click.echo(job.describe(recipe, overrides))


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
@_SET
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
    with _hushed():
        from trainers import fit as job

    seconds = None if time_limit is None else time_limit * 60
    metrics = job.fit(recipe, train, evaluation, out, overrides, seconds, strategy)
    if metrics:
        click.echo(json.dumps(metrics, indent=2))
    elif seconds is not None:
        ctx.exit(3)


_REPEAT = click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, help="Mean of so many draws of frames, where frames are drawn."
)


@yt8m_train.command()
@click.argument("folder")
@_LABELLED
@_COUNTS
@click.option("--per-class", type=click.Path(), metavar="CSV", help="Write each class's counts and average precision.")
@click.option("--reliability", type=click.Path(), metavar="CSV", help="Write how often pairs of each probability are true.")
@_REPEAT
def evaluate(folder: str, data: Sequence[str], **options: Any) -> None:
    """Evaluate the run or the ensemble in FOLDER and print its metrics as JSON."""
    with _hushed():
        from trainers import evaluate as job

    click.echo(json.dumps(job.evaluate(folder, data, **options), indent=2))


@yt8m_train.command()
@click.argument("patterns", nargs=-1, required=True)
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True)
@click.option("--frames", type=click.IntRange(1), help="Frames drawn of each video.  [default: all]")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="How long to read.")
def bench_input(patterns: Sequence[str], **options: Any) -> None:
    """Read shards as fit does, without a model, and print records and megabytes a second, and their share of the disk's rate, as JSON."""
    with _hushed():
        from trainers import bench_input as job

    click.echo(json.dumps(job.bench_input(patterns, **options), indent=2))


@yt8m_train.command("compare")
@click.argument("a")
@click.argument("b")
@_LABELLED
@_COUNTS
@click.option("--resamples", type=click.IntRange(2), default=1000, show_default=True, help="Of the videos.")
@click.option("--seed", type=int, default=0, show_default=True)
@_REPEAT
def compare_runs(a: str, b: str, data: Sequence[str], **options: Any) -> None:
    """Compare the runs or ensembles in folders A and B on the same videos: metrics, differences, and their paired bootstrap, as JSON."""
    with _hushed():
        from trainers import compare as job

    click.echo(json.dumps(job.compare(a, b, data, **options), indent=2))


@yt8m_train.command()
@click.argument("folder")
@click.option("--data", multiple=True, required=True, help="Pattern of the shards; repeatable.")
@click.option("--out", type=click.Path(), required=True, help="FILE.csv, the challenge's VideoId,LabelConfidencePairs, or FILE.parquet.")
@click.option("--top-k", type=click.IntRange(1), help="Best classes per video.  [default: 20 in a CSV, all scores in Parquet]")
@_REPEAT
def predict(folder: str, data: Sequence[str], out: str, top_k: int | None, repeat: int) -> None:
    """Predict with the run or the ensemble in FOLDER."""
    with _hushed():
        from trainers import predict as job

    click.echo(f"{job.predict(folder, data, out, top_k, repeat)} videos in {out}", err=True)


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
    with _hushed():
        from trainers import average as job

    steps = job.average(run, out, last, batch_norm)
    click.echo(f"the mean of the weights at steps {', '.join(map(str, steps))} in {out}", err=True)


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
@_REPEAT
def ensemble(members: Sequence[str], out: str, weights: str, data: Sequence[str], repeat: int) -> None:
    """Join MEMBERS, run folders or Parquet files of predict, to one model."""
    with _hushed():
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
    with _hushed():
        from trainers import export as job

    size = job.export(folder, out, form, bfloat16, job.parse_size(max_bytes) if max_bytes else None)
    click.echo(f"{size:,} bytes in {out}", err=True)


def _open(patterns: Sequence[str], vocabulary: str | None, options: dict[str, Any]) -> tuple[Any, dict[int, str] | None]:
    """Open the input and the vocabulary; say what the records hold."""
    from beam_jobs import inputs
    from yt8m_data import vocabulary as vocabularies

    names = vocabularies.read(vocabulary) if vocabulary else None
    classes = options["num_classes"] or (len(names) if names else None)
    source = inputs.open_input(patterns, classes, options["on_bad_record"] == "skip", options["max_bad_fraction"])
    click.echo(f"{len(source.files)} files of {source.schema}", err=True)
    return source, names


def _command() -> str:
    """The command line, for the report."""
    return shlex.join(["yt8m-data", *sys.argv[1:]])


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
