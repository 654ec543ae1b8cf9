"""A live count of records on the terminal while a local pipeline runs.

Beam's metrics can be asked only when a local run is over. So each worker process keeps its count in a small file of its own, in a folder
whose files the terminal's thread adds up.
"""

import contextlib
import os
import struct
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_COUNT = struct.Struct("<q")
_INTERVAL = 0.25  # seconds between two looks at the counts


class Counter:
    """Counts records from inside a DoFn; pickles as its folder alone. With no folder it counts nothing.

    In the process that shows the progress, `total` is at the end what all workers counted; None where they counted nothing.
    """

    def __init__(self, folder: str | None) -> None:
        self.folder = folder
        self.count = 0
        self.total: int | None = None
        self._file: int | None = None

    def __reduce__(self) -> tuple:
        return Counter, (self.folder,)

    def add(self, records: int) -> None:
        """Add to this process's count."""
        if self.folder is None:
            return
        if self._file is None:
            name = f"{os.getpid()}-{id(self)}"
            self._file = os.open(os.path.join(self.folder, name), os.O_CREAT | os.O_WRONLY)
        self.count += records
        os.pwrite(self._file, _COUNT.pack(self.count), 0)


@contextlib.contextmanager
def shown(description: str, total: int | None) -> Iterator[Counter]:
    """Show what the workers count on stderr, with the rate and the time left, until the block ends.

    Where stderr is no terminal, one line at the end says what was counted.
    """
    console = Console(stderr=True)
    with tempfile.TemporaryDirectory(prefix="yt8m-progress-") as folder:
        columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("records")]
        columns += [TextColumn("{task.fields[rate]}/s"), TimeRemainingColumn(elapsed_when_finished=True)]
        progress = Progress(*columns, console=console, disable=not console.is_terminal, auto_refresh=False)
        with progress:
            task = progress.add_task(description, total=total, rate="-")
            done = threading.Event()

            def watch() -> None:
                while not done.wait(_INTERVAL):
                    count, elapsed = _total(folder), progress.tasks[0].elapsed or 0
                    progress.update(task, completed=count, rate=f"{count / elapsed:,.0f}" if elapsed else "-", refresh=True)

            thread = threading.Thread(target=watch, daemon=True)
            thread.start()
            counter = Counter(folder)
            try:
                yield counter
            finally:
                done.set()
                thread.join()
                counter.total = count = _total(folder)
                elapsed = progress.tasks[0].elapsed or 1
                progress.update(task, completed=count, rate=f"{count / elapsed:,.0f}", refresh=True)
                if not console.is_terminal:
                    console.print(f"{description}: {count:,} records in {elapsed:.1f} s ({count / elapsed:,.0f}/s)", highlight=False)


def _total(folder: str) -> int:
    contents = [path.read_bytes() for path in Path(folder).iterdir()]
    return sum(_COUNT.unpack(content)[0] for content in contents if len(content) == _COUNT.size)
