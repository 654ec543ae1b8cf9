"""What both command lines share: groups of commands that tell an error in one sentence, and joined options."""

import contextlib
import gc
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import click

from yt8m_data.errors import DataError


class Failure(click.ClickException):
    """A wrong use or a bad input: one sentence, exit status 2."""

    exit_code = 2


class OutFile(click.ParamType):
    """The path of a file that a command writes at its end; that it can be written is checked before the work."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check the path."""
        from yt8m_data import storage

        storage.check_target(value)
        return value


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


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Import without looking for garbage, which takes about a fifth of the time of large imports, and never look through what they made."""
    before = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > before:
            gc.freeze()
        gc.enable()


def joined(*options: Callable) -> Callable:
    """Join options to one decorator."""

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate
