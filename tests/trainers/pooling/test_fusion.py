import keras
import numpy as np
import pytest
import tensorflow as tf

from trainers import components  # noqa: F401 (registers what is nested)
from trainers.pooling.early_fusion import EarlyFusion
from trainers.pooling.late_fusion import LateFusion
from yt8m_data.errors import DataError

SIZES = (4, 2)


def normed(x: np.ndarray, norm) -> np.ndarray:
    gamma, beta, mean, variance = (np.array(w, np.float64) for w in norm.weights)
    return (gamma * (x - mean) / np.sqrt(variance + 1e-3) + beta).astype(np.float32)


@pytest.mark.parametrize("batch_norm", [True, False])
def test_late_fusion_pools_each_feature_alone(clips, randomized, batch_norm):
    fusion = randomized(LateFusion({"name": "netvlad", "clusters": 5}, SIZES, audio={"clusters": 3}, batch_norm=batch_norm))
    visual, audio = fusion.pools
    assert (visual.clusters, audio.clusters) == (5, 3)
    x = normed(clips.frames, fusion.norm) if batch_norm else clips.frames
    expected = np.concatenate([visual(x[:, :, :4], mask=clips.mask), audio(x[:, :, 4:], mask=clips.mask)], axis=1)
    pooled = np.array(fusion(clips.frames, mask=clips.mask))
    assert pooled.shape == (3, 5 * 4 + 3 * 2)
    np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-5)


def test_early_fusion_pools_them_together(clips, randomized):
    fusion = randomized(EarlyFusion({"name": "netfv", "clusters": 3}, SIZES))
    expected = fusion.pool(normed(clips.frames, fusion.norm), mask=clips.mask)
    np.testing.assert_allclose(fusion(clips.frames, mask=clips.mask), expected, rtol=1e-3, atol=1e-4)


def test_the_scaffolds_agree_for_one_feature(clips, randomized):
    options = {"name": "soft_dbow", "clusters": 5, "gated": True}
    late, early = randomized(LateFusion(options, (6,))), randomized(EarlyFusion(options, (6,)))
    late.set_weights(early.get_weights())
    np.testing.assert_allclose(late(clips.frames, mask=clips.mask), early(clips.frames, mask=clips.mask), rtol=1e-5)


def test_audio_may_be_pooled_in_another_way(clips, randomized):
    fusion = randomized(LateFusion({"name": "soft_dbow", "clusters": 5, "gated": True}, SIZES, audio={"clusters": 2, "gated": False}))
    assert [pool.gated for pool in fusion.pools] == [True, False]
    other = LateFusion({"name": "average"}, (2, 2, 2), audio={"name": "position_encoding", "base": 1})
    assert [type(pool).__name__ for pool in other.pools] == ["AveragePooling", "PositionEncoding", "PositionEncoding"]
    assert other(clips.frames, mask=clips.mask).shape == (3, 6)


@pytest.mark.parametrize("scaffold", [LateFusion, EarlyFusion])
def test_padded_frames_stay_zero_behind_the_batch_norm(clips, randomized, scaffold):
    """`position_encoding` and all others would mask them; what the nested pooling is given shows it."""
    fusion = randomized(scaffold({"name": "average"}, (6,)))
    pool = fusion.pools[0] if scaffold is LateFusion else fusion.pool
    seen = []
    pool.call = lambda frames, mask: seen.append(np.array(frames)) or frames[:, 0]
    fusion(clips.frames, mask=clips.mask)
    assert not seen[0][~clips.mask].any()
    assert seen[0][clips.mask].all()


@pytest.mark.parametrize("scaffold", [LateFusion, EarlyFusion])
def test_batch_norm_sees_real_frames_only(clips, scaffold):
    fusion = scaffold({"name": "average"}, (6,), momentum=0.0)
    fusion.build((None, None, 6))
    fusion(np.where(clips.mask[:, :, None], clips.frames, 99.0).astype(np.float32), mask=clips.mask, training=True)
    frames = clips.frames[clips.mask]
    np.testing.assert_allclose(fusion.norm.moving_mean, frames.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(fusion.norm.moving_variance, frames.var(axis=0), rtol=1e-4)


@pytest.mark.parametrize(
    "fusion",
    [
        LateFusion({"name": "netvlad", "clusters": 4, "non_local": {}}, SIZES, audio={"clusters": 3}),
        LateFusion({"name": "netrvlad", "clusters": 4, "non_local": {"width": 2}}, SIZES),
        EarlyFusion({"name": "netvlad", "clusters": 4, "non_local": {}}, SIZES),
        LateFusion({"name": "dbof", "clusters": 4, "pool": "attention"}, SIZES),
    ],
)
def test_gradients_saving_and_mixed_precision(clips, tmp_path, fusion):
    """Sublayers follow the precision of their scaffold, not that of the moment at which they are loaded."""
    layer = type(fusion).from_config({**fusion.get_config(), "dtype": "mixed_bfloat16", "name": "pooling"})
    frames, mask = keras.Input((None, 6), name="frames"), keras.Input((None,), dtype="bool", name="mask")
    model = keras.Model([frames, mask], layer(frames, mask=mask))
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(tf.cast(model([clips.frames, clips.mask], training=True), "float32") ** 3)
    gradients = tape.gradient(total, [w.value for w in model.trainable_weights])
    assert all(np.isfinite(g).all() and np.abs(g).max() > 0 for g in gradients)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    inner = {part.compute_dtype for part in loaded.get_layer("pooling")._flatten_layers()}
    assert inner == {"bfloat16"}
    np.testing.assert_array_equal(*(np.array(m([clips.frames, clips.mask]), np.float32) for m in (model, loaded)))


def test_config_round_trip():
    for fusion in (
        LateFusion(
            {"name": "netvlad", "clusters": 4, "non_local": {"blocks": 2}}, SIZES, audio={"clusters": 3}, batch_norm=False, momentum=0.9
        ),
        EarlyFusion({"name": "average"}, SIZES, momentum=0.9),
    ):
        config = fusion.get_config()
        assert type(fusion).from_config(config).get_config() == config


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LateFusion({"clusters": 3}, SIZES), "pooling of late_fusion is .*: give the name of a pooling"),
        (lambda: EarlyFusion("netvlad", SIZES), "pooling of early_fusion is 'netvlad': give the name"),
        (lambda: LateFusion({"name": "netvald"}, SIZES), "unknown pooling 'netvald': known are .*netvlad"),
        (lambda: LateFusion({"name": "netvlad", "cluster": 3}, SIZES), "pooling 'netvlad' has no option 'cluster'"),
        (lambda: LateFusion({"name": "netvlad"}, SIZES, audio={"cluster": 3}), "pooling 'netvlad' has no option 'cluster'"),
        (lambda: LateFusion({"name": "netvlad"}, SIZES, audio=3), "audio of late_fusion is 3: give the options"),
        (lambda: LateFusion({"name": "average"}, SIZES, batch_norm=2), "batch_norm of late_fusion is 2"),
        (lambda: EarlyFusion({"name": "average"}, SIZES, momentum=2), "momentum of early_fusion is 2"),
    ],
)
def test_wrong_options(make, message):
    with pytest.raises(DataError, match=message):
        make()
