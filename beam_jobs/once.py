"""Units of work that are done once, though the job be killed and run again.

What a unit gives to a shuffle is spilled, as a run that bears its name. When that is finished, what else it gives is noted in the work
folder; the same job, run again, takes a noted unit as it is.
"""

import contextlib
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apache_beam as beam

from yt8m_data import memory, spill, storage
from yt8m_data.work import Work

MAIN = "main"  # the output of a DoFn that has no tag


class Unit(NamedTuple):
    """What a unit of work gave beside what it spilled, by output; `found` if a killed run had done it."""

    name: str
    found: bool
    outputs: Mapping[str, list[Any]]


class Resumed(NamedTuple):
    """The manifest of a job, and where it went on with what a killed run left, what was `found` of that: a sentence, or nothing."""

    manifest: dict[str, Any]
    found: str


class Once(beam.DoFn):
    """(name, element) -> Unit: what a DoFn makes of the element, once.

    Args:
      do: the DoFn.
      work: the work folder.
      spills: folders of runs, by output: of these outputs pairs (partition, batch) are spilled there.
      whole: whether all that the unit wrote elsewhere is as it left it, told by its outputs.
      appended: files that all units append to, and that must have reached the disk before one is noted.
      alike: whether all units take memory in like pieces, so that the next one finds what one leaves.
    """

    def __init__(
        self,
        do: beam.DoFn,
        work: Work,
        spills: Mapping[str, str],
        whole: Callable[[Mapping[str, list[Any]]], bool] = lambda _: True,
        appended: Sequence[str] = (),
        alike: bool = False,
    ) -> None:
        self.do, self.done, self.spills, self.whole, self.appended, self.alike = do, work.done, spills, whole, appended, alike

    def setup(self) -> None:
        """Set the DoFn up."""
        self.do.setup()

    def teardown(self) -> None:
        """Let the DoFn go."""
        self.do.teardown()

    def process(self, unit: tuple[str, Any]) -> Iterator[Unit]:
        """Do the unit, unless it is done."""
        name, element = unit
        note = self.done / f"{name}.pickle"
        if note.exists():
            outputs = pickle.loads(note.read_bytes())  # written by our own worker, of the same versions
            if all(spill.is_finished(folder, name) for folder in self.spills.values()) and self.whole(outputs):
                yield Unit(name, True, outputs)
                return
        outputs = self._outputs(name, element)
        if not self.alike:
            memory.give_back()  # what this unit took, the next may take in other pieces
        with storage.atomic_write(note) as stream:
            pickle.dump(outputs, stream)
        yield Unit(name, False, outputs)

    def _outputs(self, name: str, element: Any) -> dict[str, list[Any]]:
        outputs: dict[str, list[Any]] = {}
        with contextlib.ExitStack() as stack:
            for folder in self.spills.values():
                Path(folder).mkdir(parents=True, exist_ok=True)
            runs = {tag: stack.enter_context(spill.RunWriter(folder, name)) for tag, folder in self.spills.items()}
            for output in self.do.process(element) or ():
                tag, value = (output.tag, output.value) if isinstance(output, beam.pvalue.TaggedOutput) else (MAIN, output)
                if tag in runs:
                    runs[tag].write(*value)
                else:
                    outputs.setdefault(tag, []).append(value)
            for run in runs.values():
                run.finish()
        for path in filter(os.path.exists, self.appended):
            with storage.room(Path(path).parent), open(path, "rb") as stream:
                os.fsync(stream.fileno())
        return outputs


class Chain(beam.DoFn):
    """A DoFn whose main output a function takes at once, and gives outputs for it."""

    def __init__(self, first: beam.DoFn, second: Callable[[Any], Iterable[Any]]) -> None:
        self.first, self.second = first, second

    def process(self, element: Any) -> Iterator[Any]:
        """Give all outputs of both but what passes between them."""
        for output in self.first.process(element):
            if isinstance(output, beam.pvalue.TaggedOutput):
                yield output
            else:
                yield from self.second(output)


def resumption(steps: Mapping[str, Sequence[bool]]) -> str:
    """Tell in a sentence how much of each step was found done; there is a flag for each file, pool and so on."""
    return "; ".join(
        f"{sum(found)} of {len(found)} {step} were found finished, {len(found) - sum(found)} done" for step, found in steps.items()
    )
