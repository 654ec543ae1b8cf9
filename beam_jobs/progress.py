"""A live count of records on the terminal while a local pipeline runs.

Beam's metrics can be asked only when a local run is over. So each worker process keeps its count in a small file of its own, in a folder
whose files the terminal's thread adds up.
"""

import contextlib
import os
import struct
import tempfile
import threading
from collections import Counter as Tally
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

READ = "read"  # the stage that the books are held against

_COUNT = struct.Struct("<q")
_INTERVAL = 0.25  # seconds between two looks at the counts


class Counter:
    """Counts the records of a stage from inside a DoFn; pickles as its folder and stage. With no folder it counts nothing.

    In the process that shows the progress, `total` is at the end what all workers read; None where nothing was counted.
    """

    def __init__(self, folder: str | None, stage: str = READ) -> None:
        self.folder, self.stage = folder, stage
        self.count = 0
        self.total: int | None = None
        self._file: int | None = None

    def __reduce__(self) -> tuple:
        return Counter, (self.folder, self.stage)

    def of(self, stage: str) -> "Counter":
        """Return a counter of another stage of the same job."""
        return Counter(self.folder, stage)

    def add(self, records: int) -> None:
        """Add to this process's count."""
        if self.folder is None:
            return
        if self._file is None:
            name = f"{self.stage}-{os.getpid()}-{id(self)}"
            self._file = os.open(os.path.join(self.folder, name), os.O_CREAT | os.O_WRONLY)
        self.count += records
        os.pwrite(self._file, _COUNT.pack(self.count), 0)


@contextlib.contextmanager
def shown(job: str, total: int | None) -> Iterator[Counter]:
    """Show what the workers count on stderr, a line for each stage, until the block ends.

    `total` is the number of records to read, as far as it is known. Where stderr is no terminal, one line at the end says what was read.
    """
    console = Console(stderr=True)
    columns = [TextColumn("{task.description:>16}"), BarColumn(), MofNCompleteColumn(), TextColumn("records, {task.fields[rate]}/s")]
    progress = Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal, auto_refresh=False)
    with tempfile.TemporaryDirectory(prefix="yt8m-progress-") as folder, progress:
        tasks = {READ: progress.add_task(f"{job}: {READ}", total=total, rate="-")}

        def look() -> Tally[str]:
            counts = _counts(folder)
            for stage, count in counts.items():
                if stage not in tasks:
                    tasks[stage] = progress.add_task(f"{job}: {stage}", total=None, rate="-")
                elapsed = progress.tasks[tasks[stage]].elapsed or 1
                progress.update(tasks[stage], completed=count, rate=f"{count / elapsed:,.0f}")
            progress.refresh()
            return counts

        counter, done = Counter(folder), threading.Event()

        def watch() -> None:
            while not done.wait(_INTERVAL):
                look()

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield counter
        finally:
            done.set()
            thread.join()
            counter.total = count = look()[READ]
            progress.update(tasks[READ], total=count)
            if not console.is_terminal:
                elapsed = progress.tasks[tasks[READ]].elapsed or 1
                console.print(f"{job}: {count:,} records in {elapsed:.1f} s ({count / elapsed:,.0f}/s)", highlight=False)


def _counts(folder: str) -> Tally[str]:
    """Add up the counts of all processes, by stage."""
    counts: Tally[str] = Tally()
    for path in Path(folder).iterdir():
        content = path.read_bytes()
        if len(content) == _COUNT.size:
            counts[path.name.split("-")[0]] += _COUNT.unpack(content)[0]
    return counts
