"""What both command lines share: groups of commands that tell an error in one sentence, and joined options."""

import logging
import os
from collections.abc import Callable
from typing import Any

import click

from yt8m_data.errors import DataError


class Failure(click.ClickException):
    """A wrong use or a bad input: one sentence, exit status 2."""

    exit_code = 2


class Commands(click.Group):
    """A group that turns DataError into one sentence, and keeps what stands behind `--` for Beam."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse what stands before `--`."""
        if "--" in args:
            cut = args.index("--")
            args, ctx.meta["beam_options"] = args[:cut], args[cut + 1 :]
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        logging.basicConfig(level=logging.ERROR, format="%(message)s")
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        try:
            return super().invoke(ctx)
        except DataError as error:
            raise Failure(str(error)) from None


def joined(*options: Callable) -> Callable:
    """Join options to one decorator."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
