"""Commands that tell before one trains: recipes, describe and bench-input."""

import json
from collections.abc import Sequence
from typing import Any

import click

from trainers.commands.options import SET, hushed, yt8m_train


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
@SET
def describe(recipe: str, overrides: Sequence[str]) -> None:
    """Print the layers of RECIPE with their shapes and numbers of weights, for the records that it was published on."""
    with hushed():
        from trainers import describe as job

    click.echo(job.describe(recipe, overrides))


@yt8m_train.command()
@click.argument("patterns", nargs=-1, required=True)
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True)
@click.option("--frames", type=click.IntRange(1), help="Frames drawn of each video.  [default: all]")
@click.option("--seconds", type=float, default=10.0, show_default=True, help="How long to read.")
def bench_input(patterns: Sequence[str], **options: Any) -> None:
    """Read shards as fit does, without a model, and print records and megabytes a second, and their share of the disk's rate, as JSON."""
    with hushed():
        from trainers import bench_input as job

    click.echo(json.dumps(job.bench_input(patterns, **options), indent=2))
