"""Commands that look: stats, merge-stats, compare and report."""

import json
from typing import Any

import click

from beam_jobs.commands.options import (
    ENGINE,
    INPUT,
    OVERWRITE,
    VOCABULARY,
    command_line,
    engine_of,
    open_input,
    painters_of,
    yt8m_data,
)
from yt8m_data.command_line import OutFile, importing

STATS_OUT = click.option("--out", type=click.Path(), required=True, help="Folder for stats.json, its tables and matrices, and report.html.")

REPORT = click.option("--report/--no-report", default=True, show_default=True, help="Write report.html, with its plots, as well.")

IMPORT = click.option(
    "--import", "imports", multiple=True, metavar="MODULE", help="Python module that registers statistics of your own; repeatable."
)


@yt8m_data.command()
@click.argument("patterns", nargs=-1, required=True)
@STATS_OUT
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
@IMPORT
@REPORT
@VOCABULARY
@INPUT
@ENGINE
@OVERWRITE
@click.pass_context
def stats(
    ctx: click.Context, patterns: tuple[str, ...], out: str, vocabulary: str | None, overwrite: bool, report: bool, **options: Any
) -> None:
    """Count labels, their pairs and sets, lengths and the features' moments in one pass; measure the imbalance and fit the Zipf law."""
    source, names = open_input(patterns, vocabulary, options)
    engine = engine_of(ctx, options)
    painters = painters_of(ctx, source, engine, report)
    with importing():
        from beam_jobs import stats as job
        from yt8m_data import statistics
        from yt8m_data import vocabulary as vocabularies
        from yt8m_data.report import collect, text

    statistics.import_modules(options["imports"])
    verticals = vocabularies.read_verticals(vocabulary) if vocabulary and options["slice_by"] == "vertical" else {}
    request = job.Request(**{key: options[key] for key in ("features", "verify", "sample", "label_means", "slice_by")}, verticals=verticals)
    result = job.run(source, out, names, engine, overwrite, request)
    if report:
        collect.write([out], names=names, command=command_line(), painters=painters)
    click.echo(text.statistics(result, names))


@yt8m_data.command()
@click.argument("folders", nargs=-1, required=True, type=click.Path())
@STATS_OUT
@IMPORT
@REPORT
@VOCABULARY
@OVERWRITE
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
        collect.write([out], names=names, command=command_line())
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
@VOCABULARY
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
@click.argument("folders", nargs=-1, required=True, type=click.Path())
@click.option(
    "--run",
    "runs",
    multiple=True,
    metavar="NAME=PATH",
    help="A run folder of yt8m-train fit, or a file of evaluate --out, to show; repeatable.",
)
@click.option("--out", type=OutFile(), help="The HTML file.  [default: report.html in the last folder]")
@VOCABULARY
def report(folders: tuple[str, ...], runs: tuple[str, ...], out: str | None, vocabulary: str | None) -> None:
    """Write one HTML page on FOLDERS: the output of stats or of augment, or two outputs of stats, before and after."""
    from yt8m_data import vocabulary as vocabularies
    from yt8m_data.report import collect

    names = vocabularies.read(vocabulary) if vocabulary else None
    click.echo(collect.write(folders, out, runs, names, command_line()))
