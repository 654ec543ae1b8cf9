import json
import subprocess
import sys
import textwrap
from typing import NamedTuple

import numpy as np
import planted
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.ensemble import Ensemble, ensemble, load
from trainers.evaluate import evaluate
from trainers.export import export, pack, parse_size
from trainers.fit import fit
from trainers.inputs import evaluation_batches
from trainers.metrics import Metrics
from trainers.predict import predict
from trainers.run import load_run, save_model
from yt8m_data.errors import DataError
from yt8m_data.shards import expand, read_json

# Loads models where neither package can be imported, and scores what it is given by both signatures.
SERVE = """
    import json, sys
    for package in ("trainers", "yt8m_data", "beam_jobs", "cli"):
        sys.modules[package] = None
    import numpy as np, tensorflow as tf
    for job in json.load(open(sys.argv[1])):
        given = np.load(job["features"])
        signatures = tf.saved_model.load(job["model"]).signatures
        by_features = signatures["serving_default"](**{name: tf.constant(given[name]) for name in given.files})
        records = [r for path in job["shards"] for r in tf.data.TFRecordDataset(path).as_numpy_iterator()]
        by_records = signatures["serialized"](records=tf.constant(records))
        np.savez(job["out"], features=by_features["scores"], records=by_records["scores"], ids=by_records["id"].numpy().astype("S"))
"""


class Served(NamedTuple):
    features: np.ndarray  # scores [N, C] by the signature on features
    records: np.ndarray  # and by that on records
    ids: np.ndarray


def serve(folder, models: dict[str, tuple[str, str]]) -> dict[str, Served]:
    """Scores of exported models, by another process: of each, by name, what it was exported from and the shards whose videos it scores."""
    jobs = []
    for name, (source, pattern) in models.items():
        files = expand([pattern])
        data = load(source).layout_for(files)
        (batch,) = evaluation_batches(files, data, 1000)
        np.savez(folder / f"{name}.in.npz", **{key: value.numpy() for key, value in batch["features"].items()})
        paths = {"model": name, "features": f"{name}.in.npz", "out": f"{name}.npz"}
        jobs.append({"shards": files, **{key: str(folder / path) for key, path in paths.items()}})
    (folder / "jobs.json").write_text(json.dumps(jobs))
    arguments = [sys.executable, "-c", textwrap.dedent(SERVE), str(folder / "jobs.json")]
    done = subprocess.run(arguments, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: Served(**np.load(folder / f"{name}.npz")) for name in models}


def scored(scorer: Ensemble, pattern: str) -> tuple[list[bytes], np.ndarray]:
    batches = list(scorer.scores(expand([pattern]), keep_all=True))
    return [i for ids, _, _ in batches for i in ids], np.concatenate([scores for _, scores, _ in batches])


def rounded(scorer: Ensemble) -> Ensemble:
    """The same with weights that are rounded in place."""
    for run in scorer.runs:
        run.model.set_weights([tf.cast(pack(w), tf.float32).numpy() if w.dtype == np.float32 else w for w in run.model.get_weights()])
    return scorer


def once_traced(model: tf.keras.Model) -> tf.types.experimental.PolymorphicFunction:
    """A model as one graph for videos of all lengths."""
    return tf.function(model, input_signature=[{name: tf.TensorSpec(x.shape, x.dtype) for name, x in model.input.items()}])


@pytest.fixture(scope="module")
def sources(made, made_frames, tmp_path_factory):
    """A run and an ensemble of either kind; of the frame-level runs one has layers with states and draws frames."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("moe", "logistic"):
        fit(name, [made.train], [made.eval], str(folder / name), made.overrides)
    short = [*made_frames.overrides, "training.steps=20"]
    poolings = {"netvlad": "{name: netvlad, clusters: 3}", "average": "{name: average}"}
    for name, pooling in poolings.items():
        settings = [f"pooling={pooling}", "encoders=[{name: dense, size: 6, batch_norm: true}, {name: context_gating}]"]
        settings += ["frames={sample: random, count: 5}"] if name == "netvlad" else []
        fit("moe", [made_frames.train], [made_frames.eval], str(folder / name), [*short, *settings])
    ensemble([str(folder / "moe"), str(folder / "logistic")], str(folder / "videos"), "class", [made.eval])
    ensemble([str(folder / "netvlad"), str(folder / "average")], str(folder / "frames"), "model", [made_frames.eval])
    return folder


@pytest.fixture(scope="module")
def recurrent(made_frames, tmp_path_factory):
    folder = tmp_path_factory.mktemp("recurrent") / "lstm"
    settings = ["training.steps=2", "pooling={name: lstm_memory, cells: [3], layer_norm: true, dropout: 0.2}"]
    fit("logistic", [made_frames.train], [made_frames.eval], str(folder), [*made_frames.overrides, *settings])
    return folder


@pytest.fixture(scope="module")
def exported(sources, recurrent, made, made_frames, tmp_path_factory):
    """A run and an ensemble of either kind, and that packed: by name what each is of and its data, and what it gave when it was served."""
    folder, models = tmp_path_factory.mktemp("exported"), {}
    for data, run, together in ((made, sources / "moe", "videos"), (made_frames, recurrent, "frames")):
        models |= {run.name: (str(run), data.eval)}
        models |= {name: (str(sources / together), data.eval) for name in (together, f"{together}_packed")}
    for name, (source, _) in models.items():
        export(source, str(folder / name), bfloat16=name.endswith("_packed"))
    return models, serve(folder, models)


@pytest.mark.parametrize("names", [("moe", "videos", "videos_packed"), ("lstm", "frames", "frames_packed")])
def test_another_process_gets_the_same_scores(names, exported):
    """By features and by records, of a run and of an ensemble; what is packed as of models whose weights are rounded."""
    models, served = exported
    for name in names:
        source, pattern = models[name]
        scorer = rounded(load(source)) if name.endswith("_packed") else load(source)
        ids, expected = scored(scorer, pattern)
        assert served[name].ids.tolist() == ids
        np.testing.assert_allclose(served[name].records, expected, atol=1e-5)
        if scorer.runs[0].recipe.data.kind == "frame":  # the signature on features takes the frames that it is given
            videos = planted.make(150, 1, "eval")
            alone = [planted.unpadded(once_traced(member.model), videos) for member in scorer.runs]
            expected = np.tensordot(scorer.weights, alone, 1)
        np.testing.assert_allclose(served[name].features, expected, atol=1e-5)
        if name.endswith("_packed"):
            np.testing.assert_allclose(served[name].features, served[name.removesuffix("_packed")].features, atol=0.1)
            assert np.abs(served[name].features - served[name.removesuffix("_packed")].features).max() > 1e-5


def test_packing_changes_the_metrics_little_and_halves_the_size(sources, made, tmp_path):
    before, metrics = evaluate(str(sources / "moe"), [made.eval]), Metrics(30)
    for batch in rounded(load(str(sources / "moe"))).scores(expand([made.eval])):
        metrics.update(*batch)
    assert metrics.gap() == pytest.approx(before["gap"], abs=0.005)

    settings = [*made.overrides, "training.steps=1", "encoders=[{name: dense, size: 4096}]"]
    fit("logistic", [made.train], [made.eval], str(tmp_path / "wide"), settings)
    weights = 4 * load_run(str(tmp_path / "wide")).model.count_params()
    whole = export(str(tmp_path / "wide"), str(tmp_path / "whole"))
    half = export(str(tmp_path / "wide"), str(tmp_path / "half"), bfloat16=True)
    assert 0.9 * weights / 2 < whole - half < 1.1 * weights / 2
    assert whole == sum(path.stat().st_size for path in (tmp_path / "whole").rglob("*") if path.is_file())


FLOATS = st.floats(width=32, allow_nan=False)


@given(st.lists(FLOATS, min_size=1, max_size=20))
@settings(max_examples=100)
def test_pack_rounds_to_the_nearest_even(values):
    """Against exact arithmetic on the bits: of the two neighbours in bfloat16 the nearer one, or that with an even mantissa."""
    x = np.float32(values)
    found = tf.bitcast(pack(x), tf.uint16).numpy().astype(np.uint32)
    bits = x.view(np.uint32)
    low = bits >> 16  # towards zero
    rest = bits & 0xFFFF
    up = (rest > 0x8000) | ((rest == 0x8000) & (low % 2 == 1))
    finite = np.isfinite(x)
    subnormal = np.abs(x) < np.finfo(np.float32).tiny  # these may be flushed to 0
    np.testing.assert_array_equal(found[finite & ~subnormal], (low + up)[finite & ~subnormal])
    back = tf.cast(pack(x), tf.float32).numpy()
    normal = finite & ~subnormal & np.isfinite(back)
    assert np.all(np.abs(back[normal] - x[normal]) <= np.abs(x[normal]) * 2.0**-8)


def test_what_is_not_finite_stays_so():
    back = tf.cast(pack(np.float32([np.nan, np.inf, -np.inf, -0.0, 3.0])), tf.float32).numpy()
    np.testing.assert_array_equal(back, np.float32([np.nan, np.inf, -np.inf, -0.0, 3.0]))
    assert np.signbit(back[3])
    assert pack(np.int32([1])).dtype == tf.int32


def test_what_is_not_finite_is_exported_as_it_is(sources, made, tmp_path):
    """A model with weights that are not finite gives the same NaN and infinite scores once packed."""
    run = load_run(str(sources / "logistic"))
    kernel = run.model.weights[0].numpy()
    kernel[:, 0], kernel[0, 1] = np.nan, np.inf
    run.model.weights[0].assign(kernel)
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("recipe.yaml", "train_set.json"):
        (broken / name).write_bytes((sources / "logistic" / name).read_bytes())
    save_model(broken, run.model)
    export(str(broken), str(tmp_path / "packed"), bfloat16=True)
    (batch,) = evaluation_batches(expand([made.eval]), run.recipe.data)
    served = tf.saved_model.load(str(tmp_path / "packed")).signatures["serving_default"](**batch["features"])["scores"].numpy()
    assert np.isnan(served[:, 0]).all()
    np.testing.assert_allclose(served, run.model(batch["features"]).numpy(), atol=0.03)


def test_the_description_names_the_classes(made_frames, listed, tmp_path):
    settings = [*made_frames.overrides, "training.steps=5", "pooling={name: average}", f"classes={listed}"]
    fit("logistic", [made_frames.train], [made_frames.eval], str(tmp_path / "run"), settings)
    export(str(tmp_path / "run"), str(tmp_path / "model"))
    described = read_json(tmp_path / "model" / "assets.extra" / "model.json")
    assert described["classes"] == [9, 1, 8]
    assert described["members"] == ["logistic"]
    (batch,) = evaluation_batches(expand([made_frames.unlabelled]), load_run(str(tmp_path / "run")).recipe.data, 1000, keep_all=True)
    served = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"](**batch["features"])
    np.testing.assert_allclose(served["scores"], load_run(str(tmp_path / "run")).model(batch["features"]), atol=1e-5)


def test_size_limit_leaves_nothing(sources, tmp_path):
    with pytest.raises(DataError, match=r"model would have [\d,]+ bytes, above the 1,000 of --max-bytes: give --bfloat16, which halves it"):
        export(str(sources / "moe"), str(tmp_path / "model"), max_bytes=1000)
    with pytest.raises(DataError, match="of --max-bytes: leave members out"):
        export(str(sources / "videos"), str(tmp_path / "model"), bfloat16=True, max_bytes=1000)
    assert list(tmp_path.iterdir()) == []
    size = export(str(sources / "moe"), str(tmp_path / "model"), max_bytes=10**9)
    with pytest.raises(DataError, match="exists: give another name"):
        export(str(sources / "moe"), str(tmp_path / "model"))
    limit = size + 100  # TensorFlow numbers functions on, which may take a digit more
    assert export(str(sources / "moe"), str(tmp_path / "again"), max_bytes=limit) <= limit


@pytest.mark.parametrize(("text", "size"), [("1GB", 10**9), ("1GiB", 2**30), ("500 MB", 5 * 10**8), ("1.5kb", 1500), ("12", 12), ("7B", 7)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "1TB", "-3", "1 G B", "a lot"])
def test_sizes_that_are_none(text):
    with pytest.raises(DataError, match="give a number of bytes, or one with KB"):
        parse_size(text)


def test_files_of_predictions_are_no_model(sources, made, tmp_path):
    predict(str(sources / "moe"), [made.eval], str(tmp_path / "p.parquet"))
    ensemble([str(tmp_path / "p.parquet")], str(tmp_path / "e"))
    with pytest.raises(DataError, match="which are no models: give an ensemble of run folders"):
        export(str(tmp_path / "e"), str(tmp_path / "model"))


def test_tflite_on_video_level(sources, made, tmp_path):
    size = export(str(sources / "videos"), str(tmp_path / "model.tflite"), form="tflite")
    assert (tmp_path / "model.tflite").stat().st_size == size
    interpreter = tf.lite.Interpreter(str(tmp_path / "model.tflite"))
    score = interpreter.get_signature_runner()
    (batch,) = evaluation_batches(expand([made.eval]), load_run(str(sources / "moe")).recipe.data)
    found = score(**{name: value.numpy() for name, value in batch["features"].items()})["scores"]
    np.testing.assert_allclose(found, scored(load(str(sources / "videos")), made.eval)[1], atol=1e-5)


def test_what_tflite_cannot_express_is_told(sources, recurrent, tmp_path):
    with pytest.raises(DataError, match="TFLite has no weights in bfloat16: leave --bfloat16 out"):
        export(str(sources / "moe"), str(tmp_path / "model.tflite"), form="tflite", bfloat16=True)
    with pytest.raises(DataError, match=r"cannot be expressed in TFLite \(.*\): export a SavedModel"):
        export(str(recurrent), str(tmp_path / "model.tflite"), form="tflite")
    assert list(tmp_path.iterdir()) == []
