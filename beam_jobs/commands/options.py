"""The group of `yt8m-data`, and what its commands share."""

import shlex
import sys
from collections.abc import Sequence
from typing import Any

import click

from yt8m_data import __version__
from yt8m_data.command_line import Commands, importing, joined

INPUT = joined(
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

VOCABULARY = click.option("--vocabulary", type=click.Path(), help="CSV with Index and Name: class names, and their number.")

ENGINE = joined(
    click.option(
        "--runner",
        default="local",
        show_default=True,
        help="local, prism, portable, flink, spark or dataflow. Options behind -- go to Beam.",
    ),
    click.option("--workers", type=int, default=0, help="Local processes.  [default: 1, or one for each core for large inputs]"),
)

ACCELERATOR = click.option(
    "--accelerator",
    default="",
    metavar="SPEC",
    help="On a service: the GPU for the stage that seeks neighbours, as in type:nvidia-l4;count:1;install-nvidia-driver.",
)

MEMORY = click.option(
    "--memory-budget", metavar="BYTES", help="What all local processes may hold at a time, as in 2GB.  [default: half of the memory]"
)

OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace an earlier output.")


@click.group(cls=Commands)
@click.version_option(__version__)
def yt8m_data() -> None:
    """Look at, check and rebalance shards of YouTube-8M features."""


def memory_budget(budget: str | None) -> int:
    """The memory budget in bytes."""
    from yt8m_data import memory

    return memory.parse_bytes(budget) if budget else memory.available() // 2


def open_input(
    patterns: Sequence[str], vocabulary: str | None, options: dict[str, Any], extras: bool = False
) -> tuple[Any, dict[int, str] | None]:
    """Open the input and the vocabulary; say what the records hold."""
    with importing():
        from beam_jobs import inputs
        from yt8m_data import vocabulary as vocabularies

    names = vocabularies.read(vocabulary) if vocabulary else None
    classes = options["num_classes"] or (len(names) if names else None)
    source = inputs.open_input(patterns, classes, options["on_bad_record"] == "skip", options["max_bad_fraction"], extras)
    click.echo(f"{len(source.files)} files of {source.schema}", err=True)
    return source, names


def command_line() -> str:
    """The command line, for the report."""
    return shlex.join(["yt8m-data", *sys.argv[1:]])


def engine_of(ctx: click.Context, options: dict[str, Any]) -> Any:
    """Where to run, by the options of ENGINE and those behind `--`."""
    from beam_jobs.engine import Engine

    return Engine(options["runner"], options["workers"], ctx.meta.get("beam_options", ()), options.get("accelerator", ""))


def painters_of(ctx: click.Context, source: Any, engine: Any, report: bool = True) -> Any:
    """Who draws the plots of the report: as many processes as work on the input, told of early."""
    from yt8m_data.report.painters import HERE, Painters

    return ctx.with_resource(Painters(engine.processes(source.bytes))) if report and engine.runner == "local" else HERE


def told(result: Any) -> dict[str, Any]:
    """Say what a job found of one that was killed; return its manifest."""
    if result.found:
        click.echo(result.found, err=True)
    manifest: dict[str, Any] = result.manifest
    return manifest
