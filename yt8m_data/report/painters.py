"""Who draws the plots of a page: this process, or several beside it.

Matplotlib takes as long to import as to draw a plot or two. Processes that are told of early have imported it when the data are there.
"""

import contextlib
import gc
import importlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from typing import Any, NamedTuple

from yt8m_data.report.plots.forms import Plot

_PLOTS = "yt8m_data.report.plots"
_IMPORTED = ("cooccurrence", "lengths", "moments", "ranks")  # what every page needs
_EFFORT = {"cooccurrence": 4, "ranks": 2, "moves": 2}


class Drawing(NamedTuple):
    """A plot to draw: by which function of which module of `plots`, and of what."""

    module: str
    function: str
    arguments: tuple[Any, ...]

    @property
    def effort(self) -> int:
        """How long it takes, next to the others."""
        return _EFFORT.get(self.module, 1)

    def draw(self) -> Plot:
        """Draw it."""
        plot: Plot = getattr(importlib.import_module(f"{_PLOTS}.{self.module}"), self.function)(*self.arguments)
        return plot


class Painters:
    """So many processes that draw; with more than one they are others, forked from one that starts at once to import what they need.

    A context: at its end they are gone.
    """

    def __init__(self, processes: int) -> None:
        self._asked = False
        self._beside: subprocess.Popen | None = None
        if processes > 1:
            call = [sys.executable, "-c", f"from yt8m_data.report import painters; painters.main({processes})"]
            own = {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}  # its others would spin on a worker's core
            self._beside = subprocess.Popen(call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | own)

    def __enter__(self) -> "Painters":
        return self

    def __exit__(self, *_: object) -> None:
        if self._beside is not None and self._beside.poll() is None:
            if not self._asked:  # it has no processes of its own yet
                self._beside.kill()
            self._beside.communicate()

    def draw(self, drawings: Sequence[Drawing]) -> Callable[[], list[Plot]]:
        """Begin to draw plots, once; what is returned waits for them, or where this process draws them, does it then.

        Raises:
          RuntimeError: on waiting, the other processes could not draw.
        """
        if self._beside is None:
            return lambda: [drawing.draw() for drawing in drawings]
        beside, self._asked = self._beside, True
        assert beside.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # its status tells more
            pickle.dump(list(drawings), beside.stdin)
            beside.stdin.flush()

        def wait() -> list[Plot]:
            written, _ = beside.communicate()
            if beside.returncode:
                raise RuntimeError(f"the process that draws the plots ended with status {beside.returncode}; what it said stands above")
            plots: list[Plot] = pickle.loads(written)  # by our own process, a moment ago
            return plots

        return wait


HERE = Painters(1)

_FIRST = Drawing("lengths", "labels_per_video", ([("", {"labels_per_record": {"mean": 0, "histogram": [1]}})],))  # finds fonts, and more


def main(processes: int) -> None:
    """Draw what stands pickled in the standard input, and write the plots to the standard output."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started this is told as well
    gc.disable()  # it would look through what is imported again and again, and in each fork once more
    for name in _IMPORTED:
        importlib.import_module(f"{_PLOTS}.{name}")
    _FIRST.draw()
    gc.freeze()
    gc.enable()
    try:
        drawings = pickle.load(sys.stdin.buffer)  # not to the end, which does not come while a fork of the other process lives
    except EOFError:  # it was killed
        return
    if drawings:
        with get_context("fork").Pool(min(processes, len(drawings))) as pool:  # no thread has been started here
            asked = {at: pool.apply_async(drawings[at].draw) for at in sorted(range(len(drawings)), key=lambda at: -drawings[at].effort)}
            drawn = [asked[at].get() for at in range(len(drawings))]
    sys.stdout.buffer.write(pickle.dumps(drawn if drawings else []))
