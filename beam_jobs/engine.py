"""Where a pipeline runs. Imports no Beam, so that commands can act on it while that is imported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from yt8m_data import cores, storage
from yt8m_data.errors import DataError

if TYPE_CHECKING:
    import apache_beam as beam

# Options of Beam that each runner begins with; those of the user come after, and so win.
PRESETS = {
    "local": (),
    "prism": ("--runner=PrismRunner", "--environment_type=LOOPBACK"),
    "portable": ("--runner=PortableRunner", "--job_endpoint=embed", "--environment_type=LOOPBACK"),
    "flink": ("--runner=FlinkRunner",),
    "spark": ("--runner=SparkRunner",),
    "dataflow": ("--runner=DataflowRunner",),
}

_PARALLEL_BYTES = 256 << 20  # below this, starting worker processes takes longer than the job


@dataclass(frozen=True)
class Engine:
    """Where to run.

    Attributes:
      runner: a key of PRESETS.
      workers: local processes; 0 takes one for small inputs and all cores for large ones.
      options: anything else for Beam, verbatim.
      accelerator: the GPU that a service gives to the stage that seeks neighbours, in the words of Beam's resource hints; "" for none.
    """

    runner: str = "local"
    workers: int = 0
    options: Sequence[str] = ()
    accelerator: str = ""

    def processes(self, input_bytes: int) -> int:
        """Return how many local processes work on `input_bytes`."""
        if self.workers:
            return self.workers
        return 1 if input_bytes < _PARALLEL_BYTES else cores.available()

    def threads(self, input_bytes: int) -> int:
        """Return how many threads each of these processes may have."""
        return max(1, cores.available() // self.processes(input_bytes))

    def seeking(self, stage: "beam.ParDo") -> "beam.ParDo":
        """Mark the stage that seeks neighbours, so that a service gives the accelerator to it alone."""
        return stage.with_resource_hints(accelerator=self.accelerator) if self.accelerator else stage

    def check_reach(self, *paths: str) -> None:
        """Refuse files that workers on other machines do not see.

        Raises:
          DataError: a path is on this machine's disk, and the workers are Dataflow's.
        """
        for path in paths:
            if self.runner == "dataflow" and not storage.is_remote(path):
                raise DataError(f"{path} is on this machine, where Dataflow's workers do not see it: give gs://BUCKET/... in and out")
