"""Running a pipeline: start-up checks, and errors in one sentence."""

import contextlib
import logging
import pickle
import re
import tempfile
import threading
import uuid
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import grpc
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers
from apache_beam.runners.worker import statesampler
from apache_beam.transforms import userstate
from apache_beam.transforms.environments import SubprocessSDKEnvironment

from beam_jobs import doctor, forkserver, progress
from beam_jobs.engine import PRESETS, Engine
from yt8m_data import memory, storage
from yt8m_data.errors import DataError

# FnApiRunner, which is Beam's portable job service too, sends a stage its input through a buffer that a timer empties each second. This
# does not lock out who writes (TimeBasedBufferingClosableOutputStream in Beam 2.77), and clears what was written since it looked, so that
# elements were lost on busy machines. Without a time limit there is no timer, and an input is sent when it is whole.
worker_handlers.DATA_BUFFER_TIME_LIMIT_MS = 0

# A thread of Beam's looks which step a bundle is in, as rarely as each 200 ms, and a bundle that is done waits for it to wake.
statesampler.StateSampler.__init__.__defaults__ = (10,)


def _seen_once(specs: Callable[[beam.DoFn], Any]) -> Callable[[beam.DoFn], Any]:
    """What `specs` gives, kept as long as the DoFn lives: Beam asks several times what state it has, and inspects all its methods."""
    seen: weakref.WeakKeyDictionary[beam.DoFn, Any] = weakref.WeakKeyDictionary()

    def get(fn: beam.DoFn) -> Any:
        if fn not in seen:
            seen[fn] = specs(fn)
        return seen[fn]

    return get


userstate.get_dofn_specs = _seen_once(userstate.get_dofn_specs)  # a fifth of what it takes to begin a job

_SENTENCE = re.compile(r"(?:yt8m_data\.errors\.)?DataError: (.*?)(?: \[while running [^\n]*\])?(?:\n|$)")


def run(
    engine: Engine,
    description: str,
    input_bytes: int,
    total: int | None,
    build: Callable[[beam.Pipeline, progress.Counter], Any],
    accounted: Callable[[Any], int],
    gather: Callable[..., Any] = lambda elements: elements[0],
) -> Any:
    """Build a pipeline and run it to its end; return its result.

    That is the one element of the PCollection that `build` returns. Or `build` returns a list of PCollections, and `gather` makes the
    result of a list for each, of all its elements in any order: so workers hand back what they have, and Beam needs no further step to
    gather it. On a service each PCollection must have one element: a bundle that is tried again would leave its own once more.

    A local run shows its progress (`total` records, None for unknown) on stderr, and then holds `accounted` of the result, the number of
    records that it speaks of, against what the readers counted themselves.

    Raises:
      DataError: as a worker raised it, or the engine lacks something, or records were lost on the way.
    """
    _check(engine)
    logging.getLogger("apache_beam").setLevel(logging.CRITICAL)  # what fails is raised, below
    with tempfile.TemporaryDirectory(prefix="yt8m-") as folder:
        place = storage.to_path(_temporary_folder(engine) or folder) / f"yt8m-result-{uuid.uuid4().hex}"
        try:
            if engine.runner == "local":
                pipeline = _local_pipeline(engine, engine.processes(input_bytes))
                with progress.shown(description, total) as counter:
                    parts = _execute(pipeline, build, counter, lambda number: beam.ParDo(_HandBack(f"{place}-{number}")))
            else:
                counter = progress.Counter(None)
                with _quiet_threads():
                    parts = _execute(_service_pipeline(engine), build, counter, lambda number: beam.Map(_hand_back, f"{place}-{number}"))
        except Exception as error:
            sentence = _SENTENCE.search(f"{type(error).__name__}: {error}")
            if sentence is None:
                raise
            raise DataError(sentence[1]) from None
        result = gather(*(_handed_back(f"{place}-{part}", engine.runner == "local") for part in range(parts)))
    if counter.total not in (None, accounted(result)):
        raise DataError(f"{counter.total} records were read and {accounted(result)} arrived, so Beam lost some on the way: run it again")
    return result


def _temporary_folder(engine: Engine) -> str | None:
    """Return where workers leave the result: in Beam's --temp_location; without it they must see this machine's disk."""
    if engine.runner == "local":
        return None
    found: str | None = PipelineOptions(service_options(engine)).view_as(GoogleCloudOptions).temp_location
    return found


def _execute(
    pipeline: beam.Pipeline,
    build: Callable[[beam.Pipeline, progress.Counter], Any],
    counter: progress.Counter,
    handing_back: Callable[[int], beam.PTransform],
) -> int:
    """Build, run, and wait until it is over; return how many PCollections were handed back."""
    built = build(pipeline, counter)
    parts = built if isinstance(built, list) else [built]
    for number, part in enumerate(parts):
        part | f"Hand back {number}" >> handing_back(number)
    running = pipeline.run()
    template = pipeline.options.view_as(GoogleCloudOptions).template_location
    if template:
        raise DataError(f"the job was written to {template}, and not run: leave out --template_location to run it")
    running.wait_until_finish()
    return len(parts)


def _hand_back(value: Any, path: str) -> None:
    """Leave the one element of a PCollection, though it be done again."""
    with storage.atomic_write(path) as stream:
        pickle.dump([value], stream)


class _HandBack(beam.DoFn):
    """Leaves the elements of each bundle in a file of its own, whose name begins with a path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def start_bundle(self) -> None:
        self.elements: list[Any] = []

    def process(self, element: Any) -> None:
        self.elements.append(element)

    def finish_bundle(self) -> None:
        if self.elements:
            with storage.room(Path(self.path).parent), open(f"{self.path}-{uuid.uuid4().hex}", "wb") as stream:
                pickle.dump(self.elements, stream, pickle.HIGHEST_PROTOCOL)


def _handed_back(path: str, of_bundles: bool) -> list[Any]:
    """The elements of a PCollection, which are not kept.

    Raises:
      DataError: there is none.
    """
    found = sorted(Path(path).parent.glob(f"{Path(path).name}-*")) if of_bundles else [storage.to_path(path)]
    elements = []
    for part in filter(lambda part: part.exists(), found):
        elements += pickle.loads(part.read_bytes())  # written by our own worker, a moment ago
        part.unlink()
    if not elements:
        raise DataError("the pipeline ended and no result arrived, so Beam lost it on the way: run it again")
    return elements


class _Options(PipelineOptions):
    """Beam's options that make each view of themselves once: for that they build a parser, and Beam asks hundreds of times."""

    def view_as(self, cls: Any) -> Any:
        """Return the view."""
        views = self.__dict__.setdefault("_views", {})
        if cls not in views:
            views[cls] = super().view_as(cls)
        return views[cls]


def _local_pipeline(engine: Engine, processes: int) -> beam.Pipeline:
    """Make a pipeline for FnApiRunner: in this process, or in worker processes.

    Beam's own name for it, DirectRunner, would look for a Go binary on the network first.
    """
    options = _Options([f"--direct_num_workers={processes}", "--no_save_main_session", *engine.options])
    if processes == 1:
        memory.share_one_arena()  # as workers do
        return beam.Pipeline(runner=FnApiRunner(), options=options)
    workers = SubprocessSDKEnvironment.from_command_string(forkserver.command())
    return beam.Pipeline(runner=FnApiRunner(workers), options=options)


def _service_pipeline(engine: Engine) -> beam.Pipeline:
    """Make a pipeline for a service; the options are checked by Beam."""
    try:
        return beam.Pipeline(options=PipelineOptions(service_options(engine)))
    except ValueError as error:
        reasons = " ".join(str(error).partition(":")[2].split())
        raise DataError(f"Beam refuses the options for {engine.runner}, which stand behind --: {reasons}") from None


@contextlib.contextmanager
def _quiet_threads() -> Iterator[None]:
    """Keep Beam's threads from printing a traceback when the runner hangs up at the end; a job that fails raises all the same."""
    hook = threading.excepthook

    def quiet(failed: threading.ExceptHookArgs) -> None:
        if not isinstance(failed.exc_value, grpc.RpcError):
            hook(failed)

    threading.excepthook = quiet
    try:
        yield
    finally:
        threading.excepthook = hook


def service_options(engine: Engine) -> list[str]:
    """List Beam's options for a runner that is not local: the preset, the Prism binary where one is found, and what the user gave."""
    prism = doctor.find_prism() if engine.runner == "prism" else None
    found = [f"--prism_location={prism}"] if prism else []
    return [*PRESETS[engine.runner], *found, "--no_save_main_session", *engine.options]


def _check(engine: Engine) -> None:
    """Say what the runner lacks, before anything starts."""
    if engine.runner not in PRESETS:
        raise DataError(f"there is no runner {engine.runner!r}: choose one of {', '.join(PRESETS)}")
    if engine.workers < 0:
        raise DataError(f"{engine.workers} workers are not possible: give 1 or more, or 0 for as many as the input deserves")
    for sentence in doctor.lacks(engine.runner, engine.options):
        raise DataError(f"the runner {engine.runner} {sentence}")
