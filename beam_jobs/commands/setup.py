"""Commands that show whether everything is there: doctor and demo."""

import json

import click

from beam_jobs.commands.options import yt8m_data


@yt8m_data.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(as_json: bool) -> None:
    """Tell what is installed, and what each runner still lacks."""
    from beam_jobs import doctor as job

    found = job.run()
    click.echo(json.dumps(found, indent=2) if as_json else job.to_text(found))


@yt8m_data.command()
@click.option("--out", type=click.Path(), default="demo-out", show_default=True, help="Folder for everything that the demo makes.")
def demo(out: str) -> None:
    """Run the whole path: made shards (or those of YT8M_DATA), stats, augment, fit, evaluate, report."""
    from yt8m_data import demo as job

    job.run(out)
