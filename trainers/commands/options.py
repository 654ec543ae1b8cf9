"""The group of `yt8m-train`, and what its commands share."""

import contextlib
import os
import sys
from collections.abc import Iterator

import click

from yt8m_data import __version__, cores
from yt8m_data.command_line import Commands
from yt8m_data.errors import DataError

SET = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a value of the recipe, as in training.epochs=5; repeatable."
)

LABELLED = click.option("--data", multiple=True, required=True, help="Pattern of labelled shards; repeatable.")

REPEAT = click.option(
    "--repeat", type=click.IntRange(1), default=1, show_default=True, help="Mean of so many draws of frames, where frames are drawn."
)


@click.group(cls=Commands)
@click.version_option(__version__)
def yt8m_train() -> None:
    """Train, evaluate and use models on shards of YouTube-8M features."""


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Drop what C++ code writes to stderr while TensorFlow is imported: notes on its build. What fails is raised all the same."""
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", str(cores.available()))  # TensorFlow would count those that a container may not use
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
