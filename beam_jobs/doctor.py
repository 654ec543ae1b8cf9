"""`yt8m-data doctor`: what is installed, and what each runner still lacks.

Nothing heavy is imported here. What must be imported to be known (FAISS, TensorFlow) is imported by processes of their own, side by side:
it takes seconds, and a broken driver can end a process.
"""

import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = (
    *("yt8m-data", "apache-beam", "numpy", "pyarrow", "protobuf", "google-crc32c", "scipy"),
    *("faiss-cpu", "faiss-gpu", "tensorflow-cpu", "tensorflow", "keras", "numba"),
)
RUNNERS = ("local", "prism", "portable", "flink", "spark", "dataflow")

_TIMEOUT = 60  # seconds that a probe may take
_PROBES = {
    "faiss": """
import faiss
report = {"version": faiss.__version__, "build": faiss.get_compile_options().strip(), "gpus": faiss.get_num_gpus()}""",
    "tensorflow": """
import tensorflow as tf
report = {"version": tf.__version__, "devices": [device.device_type for device in tf.config.list_physical_devices()]}""",
}


def run() -> dict[str, Any]:
    """Look at this machine.

    Returns:
      `python`; `packages` (name -> version, None where missing); `faiss` and `tensorflow` (None where missing, else what they tell, or an
      `error`); `java` and `go` (a version or None); `runners`: for each, sentences on what it lacks, with the mend.
    """
    with ThreadPoolExecutor() as threads:
        probes = {name: threads.submit(_imported, name) for name in _PROBES}
        tools = {name: threads.submit(tool) for name, tool in {"java": _java, "go": _go}.items()}
        return {
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES},
            **{name: probe.result() for name, probe in (probes | tools).items()},
            "runners": {name: lacks(name) for name in RUNNERS},
        }


def lacks(runner: str, options: Sequence[str] = ()) -> list[str]:
    """Say what keeps the runner from starting here, in sentences with the mend; `options` are those for Beam."""
    return _LACKS[runner](options) if runner in _LACKS else []


def find_prism() -> str | None:
    """Find the Prism binary: on the PATH, where `go install` puts it, or where Beam keeps the one that it fetched."""
    home = Path.home()
    gobin = Path(os.environ.get("GOBIN") or Path(os.environ.get("GOPATH") or home / "go") / "bin")
    places = (gobin / "prism", home / ".apache_beam" / "cache" / "prism" / "bin" / "prism")
    return shutil.which("prism") or next((str(place) for place in places if os.access(place, os.X_OK)), None)


def to_text(found: Mapping[str, Any]) -> str:
    """Lay out what `run` returns: a line for each thing, and for each runner."""
    packages = {name: version for name, version in found["packages"].items() if version}
    rows = [("python", found["python"]), *packages.items()]
    rows += [(f"{name}: imported", _loaded(found[name])) for name in _PROBES]
    rows += [(name, found[name] or "not found") for name in ("java", "go")]
    lines = [f"{name:<22} {value}" for name, value in rows]
    for name, missing in found["runners"].items():
        lines += [f"--runner {name:<13} {sentence}" for sentence in missing or ["ready"]]
    return "\n".join(lines)


def _loaded(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return "not installed: pip install 'yt8m-data[cpu]', or 'yt8m-data[gpu]' where there is a GPU"
    if "error" in report:
        return f"fails: {report['error']}"
    if "gpus" in report:
        return f"{report['version']}, built for {report['build']}, {report['gpus']} GPUs"
    return f"{report['version']}, devices {', '.join(report['devices'])}"


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _imported(module: str) -> dict[str, Any] | None:
    """Import a module in another process and return what it says of itself."""
    if importlib.util.find_spec(module) is None:
        return None
    script = f"import json, sys{_PROBES[module]}\nsys.stdout.write(json.dumps(report))"
    done = _output([sys.executable, "-c", script], {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
    if isinstance(done, str):
        return {"error": done}
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]}
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def _java() -> str | None:
    return _tool_version(["java", "-version"], r'version "([^"]+)"')


def _go() -> str | None:
    return _tool_version(["go", "version"], r"go version go(\S+)")


def _tool_version(command: list[str], pattern: str) -> str | None:
    if shutil.which(command[0]) is None:
        return None
    done = _output(command, None)
    found = None if isinstance(done, str) else re.search(pattern, done.stdout + done.stderr)
    return found[1] if found else None


def _output(command: list[str], environment: Mapping[str, str] | None) -> subprocess.CompletedProcess[str] | str:
    """Run a command; return what came out, or a sentence on why nothing did."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, env=environment)
    except subprocess.TimeoutExpired:
        return f"no answer in {_TIMEOUT} s"
    except OSError as error:
        return str(error)


def _given(options: Sequence[str], name: str) -> bool:
    return any(option == name or option.startswith(f"{name}=") for option in options)


def _lacks_prism(options: Sequence[str]) -> list[str]:
    if _given(options, "--prism_location") or _given(options, "--job_endpoint") or find_prism():
        return []
    install = f"go install github.com/apache/beam/sdks/v2/go/cmd/prism@v{_version('apache-beam')}"
    return [f"needs the Prism binary: {install}, or give -- --prism_location=PATH"]


def _lacks_java(options: Sequence[str]) -> list[str]:
    if _given(options, "--job_endpoint") or shutil.which("java"):
        return []
    return ["needs Java to start Beam's job server: install a JDK (Debian: apt-get install default-jre-headless), or use --runner local"]


def _lacks_cloud(_options: Sequence[str]) -> list[str]:
    client = all(map(_version, ("google-cloud-dataflow-client", "google-cloud-storage")))
    return [] if client else ["needs Beam's Google Cloud parts: pip install 'yt8m-data[gcp]'"]


_LACKS: Mapping[str, Callable[[Sequence[str]], list[str]]] = {
    "prism": _lacks_prism,
    "flink": _lacks_java,
    "spark": _lacks_java,
    "dataflow": _lacks_cloud,
}
