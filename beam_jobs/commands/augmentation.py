"""Commands that rebalance: augment and deltas."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import click

from beam_jobs.commands.options import (
    ACCELERATOR,
    ENGINE,
    INPUT,
    MEMORY,
    OVERWRITE,
    VOCABULARY,
    command_line,
    engine_of,
    memory_budget,
    open_input,
    painters_of,
    told,
    yt8m_data,
)
from yt8m_data.command_line import importing
from yt8m_data.errors import DataError


@yt8m_data.command()
@click.argument("patterns", nargs=-1, required=True)
@click.argument("out", type=click.Path())
@click.option(
    "--policy", default="paper", show_default=True, help="paper, authors, target, joint, ml-ros, ml-rus, remedial or auto; see the README."
)
@click.option(
    "--threshold",
    default="auto",
    show_default=True,
    help="Count that parts over- from sub-sampled labels; auto scales 10,000 with the data.",
)
@click.option(
    "--method", default="interpolate,extrapolate", show_default=True, help="What is made with each neighbour; also noise, copy, delta."
)
@click.option(
    "--lambda",
    "factor",
    default="0.5",
    show_default=True,
    help="Factor of inter- and extrapolation and of deltas, or a range to draw it from, as in 0.2:0.8.",
)
@click.option("--sigma", type=float, default=0.03, show_default=True, help="Standard deviation of the noise.")
@click.option(
    "--labels",
    default="base",
    show_default=True,
    help="Labels of a synthetic video: base, intersection, union or soft (with the neighbour's), or ranking (a vote of all neighbours).",
)
@click.option("--neighbors", type=int, metavar="K", help="Neighbours of a video.  [default: as the policy has it]")
@click.option("--deltas", type=int, default=16_384, show_default=True, help="Deltas that the method delta draws from.")
@click.option("--hold", multiple=True, metavar="FEATURE", help="Copy this feature from the base instead of moving it; repeatable.")
@click.option("--cap", type=float, help="Policies target and joint: sub-sample labels above this count.")
@click.option("--floor", type=float, help="The same: over-sample labels below this count.")
@click.option("--power", type=float, default=1.0, show_default=True, help="The same: aim at n_max (n / n_max) ** power.")
@click.option("--effective", type=float, metavar="BETA", help="The same: aim at n E(n_max) / E(n), with effective numbers E of videos.")
@click.option("--targets", type=click.Path(), metavar="FILE", help="The same: CSV with Index and Target, counts to aim at.")
@click.option("--max-copies", type=float, help="The same: synthetic videos of one video at most.")
@click.option("--percent", type=float, help="Policies ml-ros and ml-rus: how many of the labelled records to add, or to drop.")
@click.option("--counts", type=click.Path(), help="A stats.json to plan with, instead of counting first.")
@click.option(
    "--pool",
    type=click.Choice(["global", "chunk"]),
    default="global",
    show_default=True,
    help="Neighbours in the whole input, or in chunks of files.",
)
@click.option("--chunk-shards", type=click.IntRange(1), default=256, show_default=True, help="Files in a chunk.")
@click.option(
    "--pool-videos",
    type=click.IntRange(1),
    metavar="N",
    help="Videos among which neighbours are sought; a label with more is dealt into parts.  [default: what 1 GiB holds of their features]",
)
@click.option("--num-shards", type=click.IntRange(0), default=0, help="Shards to write.  [default: as many as are read]")
@click.option("--name", default="train", show_default=True, help="Start of the shards' names.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--holdout", multiple=True, metavar="PATTERN", help="Held-out shards: list the synthetic videos that come near theirs.")
@click.option(
    "--near", type=float, default=0.25, show_default=True, help="How near: a share of the usual distance to the nearest video of the label."
)
@click.option("--dry-run", is_flag=True, help="Print the plan and the counts to expect, and write nothing.")
@click.option("--exact", is_flag=True, help="With --dry-run: seek the neighbours and count what would be made, instead of a bound.")
@MEMORY
@VOCABULARY
@INPUT
@ENGINE
@ACCELERATOR
@OVERWRITE
@click.pass_context
def augment(ctx: click.Context, patterns: tuple[str, ...], out: str, **options: Any) -> None:
    """Over-sample rare labels with synthetic videos, sub-sample common ones, and write shuffled shards into OUT.

    The same command resumes where it was killed.
    """
    from yt8m_data import sampling

    settings = sampling.Settings(
        policy=options["policy"],
        threshold=sampling.parse_threshold(options["threshold"]),
        methods=_methods(ctx, options),
        lambdas=sampling.parse_range(options["factor"]),
        targets=sampling.read_targets(options["targets"]) if options["targets"] else (),
        **{key: options[key] for key in ("sigma", "labels", "hold", "neighbors", "deltas", "cap", "floor", "power", "effective")},
        **{key: options[key] for key in ("max_copies", "percent", "seed")},
    )
    source, names = open_input(patterns, options["vocabulary"], options, extras=True)
    engine = engine_of(ctx, options)
    if options["exact"] and not options["dry_run"]:
        raise DataError("--exact is how a dry run counts: give --dry-run too")
    painters = painters_of(ctx, source, engine, report=not options["dry_run"])
    with importing():
        from beam_jobs import augment as job
        from yt8m_data.report import collect, text

    chunk = options["chunk_shards"] if options["pool"] == "chunk" else None
    memory = memory_budget(options["memory_budget"])
    if options["dry_run"]:
        if options["exact"]:
            from beam_jobs import rehearse

            foreseen = rehearse.dry_run(source, settings, engine, options["counts"], chunk, options["pool_videos"], memory)
        else:
            foreseen = job.dry_run(source, settings, engine, options["counts"])
        click.echo(text.plan(*foreseen, names, options["exact"]))
        return
    output = job.Output(out, options["name"], options["num_shards"], chunk, options["overwrite"], options["pool_videos"], memory)
    held_out = open_input(options["holdout"], options["vocabulary"], options)[0] if options["holdout"] else None
    holdout = job.HoldOut(held_out, options["near"]) if held_out else None
    written = job.write(source, settings, output, engine, options["counts"], holdout)
    manifest = told(written.draw_up_books())
    with ThreadPoolExecutor(1) as beside:
        removed = beside.submit(written.remove_work)
        collect.write([out], names=names, command=command_line(), painters=painters)
        removed.result()
    click.echo(text.books(manifest["totals"]))
    click.echo(text.gates(manifest))
    advised = settings.policy == "auto"
    click.echo(text.advice(out, options["name"], manifest["totals"]["written"]) if advised else text.DOUBT)


def _methods(ctx: click.Context, options: dict[str, Any]) -> tuple[Any, ...]:
    given = ctx.get_parameter_source("method") != click.core.ParameterSource.DEFAULT
    return tuple(options["method"].split(",")) if given or options["policy"] != "auto" else ()


@yt8m_data.command()
@click.argument("patterns", nargs=-1, required=True)
@click.argument("out", type=click.Path())
@click.option("--count", type=int, default=20_000, show_default=True, help="Deltas to make at most; 4.6 KB each.")
@click.option(
    "--threshold", default="auto", show_default=True, help="Labels with more videos give deltas; auto scales 10,000 with the data."
)
@click.option("--seed", type=int, default=0, show_default=True)
@INPUT
@ENGINE
@ACCELERATOR
@OVERWRITE
@click.pass_context
def deltas(ctx: click.Context, patterns: tuple[str, ...], out: str, count: int, threshold: str, seed: int, **options: Any) -> None:
    """Write differences of near videos that share a frequent label into folder OUT, for `input.move` of a recipe."""
    with importing():
        from beam_jobs import deltas as job
        from yt8m_data import sampling

    source, _ = open_input(patterns, None, options)
    manifest = job.run(source, out, count, engine_of(ctx, options), sampling.parse_threshold(threshold), seed, options["overwrite"])
    click.echo(f"{manifest['deltas']} deltas of {len(manifest['by_label'])} labels in {out}/deltas.arrow")
