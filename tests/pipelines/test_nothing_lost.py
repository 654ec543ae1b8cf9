"""Wrong use of a run that has begun: one sentence, its files as they were, and with the cause mended it ends as if nothing had been."""

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from trainers import fit as module

SETTINGS = ["--set", "training.steps=20", "--set", "training.checkpoint_every=5"]


@pytest.fixture(scope="module")
def fit(made, command):
    """Run `fit` of a recipe into a folder."""
    data = ["--train", made / "train-0000[0-3]*", "--eval", made / "train-0000[45]*"]

    def run(recipe, out, *options, status=0):
        return command("yt8m-train", "fit", recipe, *data, "--out", out, *SETTINGS, *options, status=status)

    return run


@pytest.fixture(scope="module")
def logistic(fit, tmp_path_factory):
    """A run that was stopped after 5 of 20 steps, and what it prints at its end."""
    folder = tmp_path_factory.mktemp("logistic")
    fit("logistic", folder / "begun", "--time-limit", 0, status=3)
    shutil.copytree(folder / "begun", folder / "whole")
    return folder, fit("logistic", folder / "whole").out


@pytest.fixture
def begun(logistic, tmp_path):
    """A copy of the stopped run, to do wrong to."""
    shutil.copytree(logistic[0] / "begun", tmp_path / "begun")
    return tmp_path / "begun"


def sentence(result):
    """The one line of an error."""
    (line,) = [line for line in result.err.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in result.err
    assert result.out == ""
    return line


def test_a_folder_of_another_recipe(begun, fit, logistic, digests):
    before = digests(begun)
    told = sentence(fit("moe", begun, status=2))
    assert f"{begun} holds a run of another recipe or other settings: give another folder" in told
    assert "holds a run of another recipe or other settings" in sentence(fit("logistic", begun, "--set", "training.seed=1", status=2))
    assert digests(begun) == before
    assert fit("logistic", begun).out == logistic[1]


@pytest.fixture(scope="module")
def teacher(logistic, made, command):
    """A file of the finished run's predictions of all videos."""
    path = logistic[0] / "teacher.parquet"
    command("yt8m-train", "predict", logistic[0] / "whole", "--data", made / "*.tfrecord", "--out", path, "--top-k", 40)
    return path


def test_a_teacher_that_lacks_videos(teacher, fit, tmp_path, digests):
    """It is told at the first batch with such a video, and the checkpoints stay."""
    whole, lacking, run = pq.read_table(teacher), tmp_path / "teacher.parquet", tmp_path / "run"
    ids = pa.array([b"no " + value for value in whole["id"].to_pylist()], whole["id"].type)
    pq.write_table(whole.set_column(whole.column_names.index("id"), whole.field("id"), ids), lacking)
    told = sentence(fit("moe_student", run, "--set", f"training.distill.teacher={lacking}", status=2))
    assert f"{lacking} has no prediction for video " in told

    shutil.copyfile(teacher, lacking)
    student = ["--set", f"training.distill.teacher={lacking}"]
    fit("moe_student", run, *student, "--time-limit", 0, status=3)
    before = digests(run / "checkpoints")
    pq.write_table(whole.set_column(whole.column_names.index("id"), whole.field("id"), ids), lacking)
    assert f"{lacking} has no prediction for video " in sentence(fit("moe_student", run, *student, status=2))
    assert digests(run / "checkpoints") == before
    shutil.copyfile(teacher, lacking)
    found = fit("moe_student", run, *student).out
    assert found == fit("moe_student", tmp_path / "unbroken", *student).out


def test_classes_that_differ(begun, logistic, teacher, fit, command, made, tmp_path, digests):
    command("yt8m-data", "synth", tmp_path / "other", "--records", 200, "--shards", 1, "--classes", 60, "--seed", 5)
    other, folder = tmp_path / "other" / "*.tfrecord", logistic[0]
    before = digests(folder), digests(begun)
    told = sentence(command("yt8m-train", "evaluate", folder / "whole", "--data", other, status=2))
    assert " is beyond the 40 classes" in told
    options = ["--set", "num_classes=60", "--set", f"training.distill.teacher={teacher}"]
    told = sentence(fit("moe_student", tmp_path / "student", *options, status=2))
    assert f"the teacher {teacher} has 40 classes, but the training set 60: predict with a model of the same classes" in told
    data = ["--train", other, "--eval", other, "--out", tmp_path / "sixty", "--set", "training.steps=1", "--set", "num_classes=60"]
    command("yt8m-train", "fit", "logistic", *data)
    told = sentence(command("yt8m-train", "ensemble", folder / "whole", tmp_path / "sixty", "--out", tmp_path / "joined", status=2))
    assert "has 60 classes, but " in told
    assert (digests(folder), digests(begun)) == before
    assert not (tmp_path / "joined").exists()
    assert not (tmp_path / "student").exists()
    assert command("yt8m-train", "evaluate", folder / "whole", "--data", made / "train-0000[45]*").out == logistic[1]


@pytest.mark.parametrize("part", [".index", ".data-00000-of-00001"])
def test_a_checkpoint_that_cannot_be_read(part, begun, fit, logistic, digests):
    damaged = begun / "checkpoints" / f"ckpt-5{part}"
    good = damaged.read_bytes()
    damaged.write_bytes(good[: len(good) // 2])
    before = digests(begun)
    told = sentence(fit("logistic", begun, status=2))
    assert f"the checkpoint {begun / 'checkpoints' / 'ckpt-5'} cannot be read (" in told
    assert f"put a copy in its place, or delete {begun / 'checkpoints'} to train from the beginning" in told
    assert digests(begun) == before
    damaged.write_bytes(good)
    assert fit("logistic", begun).out == logistic[1]


@pytest.mark.parametrize("damage", [b"\xff\xfe\x00step", b"a,b\n1,2\n", b"step,split\nmany,train\n", b"step,split\n1\n"])
def test_a_table_of_steps_that_cannot_be_read(damage, begun, fit, logistic, digests):
    table = begun / "metrics.csv"
    good = table.read_bytes()
    table.write_bytes(damage)
    before = digests(begun)
    told = sentence(fit("logistic", begun, status=2))
    assert f"{table} is no table of a run's steps: put back the one that was there, or remove it to lose those rows" in told
    assert digests(begun) == before
    table.write_bytes(good)
    assert fit("logistic", begun).out == logistic[1]


def test_a_model_that_cannot_be_read(logistic, command, fit, made, tmp_path, digests):
    run = tmp_path / "run"
    shutil.copytree(logistic[0] / "whole", run)
    model, data = run / "model.keras", ["--data", made / "train-0000[45]*"]
    model.write_bytes(model.read_bytes()[:1000])
    before = digests(run)
    for verb, *options in (("evaluate",), ("predict", "--out", tmp_path / "p.csv"), ("compare", run)):
        told = sentence(command("yt8m-train", verb, run, *data, *options, status=2))
        assert f"the model {model} cannot be read (" in told
        assert "delete it and run the same `fit` again" in told
    assert digests(run) == before
    assert not (tmp_path / "p.csv").exists()
    model.unlink()
    assert fit("logistic", run).out == logistic[1]
    assert command("yt8m-train", "evaluate", run, *data).out == logistic[1]


def test_a_loss_that_is_not_a_number(begun, fit, logistic, digests, monkeypatch):
    """The last good checkpoint stays, and the run goes on from it."""
    genuine = module.train_step

    def wrong(*setup):
        step = genuine(*setup)
        return lambda batch: step(batch) * tf.constant(float("nan"))

    monkeypatch.setattr(module, "train_step", wrong)
    before = digests(begun / "checkpoints")
    told = sentence(fit("logistic", begun, status=2))
    assert "the loss at step 10 is not finite: set training.learning_rate lower, or training.clipnorm=1, and give another folder" in told
    assert digests(begun / "checkpoints") == before
    assert not (begun / "model.keras").exists()
    monkeypatch.setattr(module, "train_step", genuine)
    assert json.loads(fit("logistic", begun).out) == json.loads(logistic[1])
