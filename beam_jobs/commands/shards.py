"""Commands that make, write anew and check shards: synth, shard, pool and validate."""

import json
from typing import Any

import click

from beam_jobs.commands.options import ENGINE, INPUT, MEMORY, OVERWRITE, VOCABULARY, engine_of, memory_budget, open_input, told, yt8m_data
from yt8m_data.command_line import OutFile, importing
from yt8m_data.errors import DataError


@yt8m_data.command()
@click.argument("out", type=click.Path())
@click.option("--kind", type=click.Choice(["video", "frame", "segment"]), default="video", show_default=True)
@click.option("--records", type=int, required=True, help="Number of videos.")
@click.option("--shards", type=int, default=10, show_default=True)
@click.option("--classes", type=int, default=3862, show_default=True)
@click.option(
    "--seed", type=int, default=0, show_default=True, help="Another sample of the same world: train on one seed, evaluate on another."
)
@click.option("--max-frames", type=int, default=300, show_default=True, help="With frames: length of the longest video.")
@click.option("--name", default="train", show_default=True, help="Start of the shards' names.")
@OVERWRITE
def synth(out: str, kind: Any, records: int, shards: int, classes: int, seed: int, max_frames: int, name: str, overwrite: bool) -> None:
    """Make shards with YouTube-8M's formats, sizes, label law and co-occurrence."""
    from yt8m_data import synth as job
    from yt8m_data.synthetic import SyntheticSpec

    spec = SyntheticSpec(kind, records, classes, seed, max_frames)
    manifest = job.write(spec, out, shards, name, overwrite)
    click.echo(f"{manifest['records']} records in {len(manifest['shards'])} shards in {out}")


@yt8m_data.command()
@click.argument("patterns", nargs=-1, required=True)
@click.argument("out", type=click.Path())
@click.option("--num-shards", type=click.IntRange(1), help="Shards to write, of all splits together.  [default: as many as are read]")
@click.option("--shard-bytes", metavar="BYTES", help="Write as many shards as have about this size each before compression, as in 200MB.")
@click.option("--split", "fractions", multiple=True, metavar="NAME=FRACTION", help="Part the videos by a hash of their ids; repeatable.")
@click.option(
    "--split-by-name",
    multiple=True,
    metavar="NAME=PATTERN",
    help="Part the videos by the file names of their shards, as in heldout='validate???5*'; the others go to --name; repeatable.",
)
@click.option(
    "--classes", type=click.Path(), help="CSV with Index, or one id a line: keep videos of these classes, numbered by their rows."
)
@click.option("--format", type=click.Choice(["tfrecord", "parquet", "arrow"]), default="tfrecord", show_default=True)
@click.option("--compress", type=click.Choice(["none", "gzip"]), default="none", show_default=True)
@click.option("--name", default="train", show_default=True, help="Start of the shards' names, and name of the split that has the rest.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the order, and of splits by id.")
@MEMORY
@VOCABULARY
@INPUT
@ENGINE
@OVERWRITE
@click.pass_context
def shard(ctx: click.Context, patterns: tuple[str, ...], out: str, **options: Any) -> None:
    """Write the records of any kind anew into OUT, globally shuffled: other shards, splits, classes or format.

    The same command resumes where it was killed.
    """
    with importing():
        from beam_jobs import shard as job
        from yt8m_data import classes, memory, splits
        from yt8m_data.report import text
        from yt8m_data.shard_file import Form

    if options["num_shards"] and options["shard_bytes"]:
        raise DataError("--num-shards and --shard-bytes exclude one another: give the number of shards or their size")
    source, _ = open_input(patterns, options["vocabulary"], options, extras=True)
    request = job.Request(
        folder=out,
        splits=splits.parse(options["name"], options["fractions"], options["split_by_name"]),
        num_shards=options["num_shards"] or 0,
        shard_bytes=memory.parse_bytes(options["shard_bytes"]) if options["shard_bytes"] else 0,
        classes=classes.read(options["classes"], source.schema.num_classes) if options["classes"] else None,
        form=Form(options["format"], options["compress"]),
        memory=memory_budget(options["memory_budget"]),
        seed=options["seed"],
        overwrite=options["overwrite"],
    )
    click.echo(text.resharding(told(job.run(source, request, engine_of(ctx, options)))))


@yt8m_data.command()
@click.argument("patterns", nargs=-1, required=True)
@click.argument("out", type=click.Path())
@click.option(
    "--moment",
    "moments",
    multiple=True,
    type=click.Choice(["std", "max", "top5"]),
    help="A feature beside the mean: standard deviation, maximum, or mean of the five largest values; repeatable.",
)
@click.option("--name", default="train", show_default=True, help="Start of the shards' names.")
@INPUT
@ENGINE
@OVERWRITE
@click.pass_context
def pool(ctx: click.Context, patterns: tuple[str, ...], out: str, moments: tuple[str, ...], name: str, **options: Any) -> None:
    """Pool the frames of frame-level shards: for each a video-level one in OUT, with mean_rgb, mean_audio and so on.

    The same command resumes where it was killed.
    """
    with importing():
        from beam_jobs import pool as job
        from yt8m_data.report import text

    source, _ = open_input(patterns, None, options, extras=True)
    chosen = ("mean", *dict.fromkeys(moments))
    click.echo(text.resharding(told(job.run(source, out, chosen, name, engine_of(ctx, options), options["overwrite"]))))


@yt8m_data.command()
@click.argument("patterns", nargs=-1, required=True)
@click.option(
    "--num-classes", type=click.IntRange(1), help="Number of classes.  [default: that of the data set whose keys the records have]"
)
@click.option("--max-frames", type=click.IntRange(1), default=300, show_default=True, help="Frames that a video may have.")
@click.option("--out", type=OutFile(), help="File for the report as well.")
@ENGINE
@click.pass_context
def validate(
    ctx: click.Context, patterns: tuple[str, ...], num_classes: int | None, max_frames: int, out: str | None, **options: Any
) -> None:
    """Check every record and print what was found as JSON; exit status 1 if anything was.

    Checked are checksums, keys, sizes, labels, finite values, numbers of frames, and that no id comes twice.
    """
    with importing():
        from beam_jobs import inputs
        from beam_jobs import validate as job
        from yt8m_data import shards

    source = inputs.open_input(patterns, num_classes, skip_bad=True, max_bad_fraction=1, extras=True)
    result = job.run(source, engine_of(ctx, options), max_frames)
    click.echo(json.dumps(result, indent=2))
    if out:
        shards.write_json(out, result)
    ctx.exit(0 if result["ok"] else 1)
