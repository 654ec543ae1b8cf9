import json
import socket
import subprocess
import sys
import textwrap
from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from trainers.fit import fit
from trainers.inputs import layout, training_batches
from trainers.run import load_run
from yt8m_data.errors import DataError
from yt8m_data.shards import expand

SETTINGS = ["training.steps=12", "training.checkpoint_every=5", "training.eval_every=6", "training.clipnorm=0.5", "training.ema=0.9"]


@pytest.fixture(scope="module")
def alone(made, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    return folder, fit("moe", [made.train], [made.eval], str(folder), [*made.overrides, *SETTINGS])


def start(code: str, **environment) -> subprocess.Popen:
    given = {"PATH": "/usr/bin:/bin", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1", **environment}
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], env=given, **options)


def training(made, folder, strategy: str, overrides=()) -> str:
    settings = [*made.overrides, *SETTINGS, *overrides]
    return f"""
        import json
        from trainers.fit import fit
        print(json.dumps(fit("moe", [{made.train!r}], [{made.eval!r}], {str(folder)!r}, {settings!r}, strategy={strategy!r})))
    """


def workers(code: str) -> list[tuple[str, str]]:
    """Run code in two processes that know of each other; what they print."""
    sockets = [socket.socket() for _ in range(2)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]
    for each in sockets:
        each.close()
    cluster = {"worker": addresses}
    tasks = [json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}) for index in range(2)]
    processes = [start(code, TF_CONFIG=task) for task in tasks]
    told = [process.communicate(timeout=240) for process in processes]
    for process, (_, errors) in zip(processes, told, strict=True):
        assert process.returncode == 0, errors
    return told


def assert_like(folder, alone, told: str):
    """Weights and metrics but for rounding, and the same log."""
    expected_folder, expected = alone
    for one, other in zip(load_run(str(folder)).model.get_weights(), load_run(str(expected_folder)).model.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    metrics = json.loads(told)
    assert metrics["gap"] == pytest.approx(expected["gap"], abs=1e-3)
    logs = [(each / "metrics.csv").read_text().splitlines() for each in (folder, expected_folder)]
    assert [line.split(",")[:2] for line in logs[0]] == [line.split(",")[:2] for line in logs[1]]


def test_two_workers_train_as_one(made, alone, tmp_path):
    """The same global batch: equal but for rounding. The chief alone writes."""
    folder = tmp_path / "run"
    chief, other = workers(training(made, folder, "multi_worker"))
    assert other[0].strip() == "null"
    assert "step 12/12: loss" in chief[1]
    assert "step 12/12" not in other[1]
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in alone[0].iterdir())
    assert_like(folder, alone, chief[0])


def test_two_devices_train_as_one(made, alone, tmp_path):
    code = """
        import tensorflow as tf
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2)
        genuine = tf.distribute.MirroredStrategy
        tf.distribute.MirroredStrategy = lambda: genuine(["CPU:0", "CPU:1"])
    """
    process = start(textwrap.dedent(code) + textwrap.dedent(training(made, tmp_path / "run", "mirrored")))
    told, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert_like(tmp_path / "run", alone, told)


@pytest.mark.parametrize("kind", ["made", "made_frames"])
def test_parts_of_a_batch_make_the_batch(kind, request):
    data = request.getfixturevalue(kind)
    files = expand([data.train])
    found = layout(files, 30)
    whole = islice(training_batches(files, found, 600, 12, 3, first_step=50), 4)
    parts = [training_batches(files, found, 600, 12, 3, None, 50, parts=part, num_parts=3) for part in (range(1), range(1, 3))]
    first, others = (list(islice(each, count)) for each, count in zip(parts, (4, 8), strict=True))
    for step, batch in enumerate(whole):
        pieces = [first[step], *others[2 * step : 2 * step + 2]]
        np.testing.assert_array_equal(batch["id"], tf.concat([piece["id"] for piece in pieces], 0))
        for name in layout(files, 30).features:
            rows = [row for piece in pieces for row in piece["features"][name].numpy()]
            for row, expected in zip(rows, batch["features"][name].numpy(), strict=True):
                np.testing.assert_array_equal(row, expected[: len(row)] if row.ndim == 2 else expected)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["training.batch_size=15"], "training.batch_size is 15, but there are 2 replicas: set it to a multiple"),
        (["training.jit=true"], "training.jit is set, but XLA compiles no step of 2 replicas: leave it out, or --strategy"),
    ],
)
def test_what_two_replicas_cannot_do_is_told_before_anything_is_written(made, tmp_path, monkeypatch, settings, told):
    monkeypatch.setattr("trainers.fit.Replicas", lambda strategy: SimpleNamespace(count=2))
    with pytest.raises(DataError, match=f"^{told}$"):
        fit("moe", [made.train], [made.eval], str(tmp_path / "run"), [*made.overrides, *settings], strategy="mirrored")
    assert not (tmp_path / "run").exists()
