"""Each check of the matrix passes a layer that is right, and catches those that are wrong in its respect."""

from functools import partial

import pytest
import tensorflow as tf
from matrix import checks, toys
from matrix.subject import Subject

OPTIONS = {"sharpness": 2.0}


def of_frames(folder) -> dict:
    """Every check on poolings, as a function of a subject alone."""
    return {
        "shapes": partial(checks.gives_vectors_for_any_batch_and_length, width=12),
        "mixing": checks.videos_do_not_mix,
        "padding": checks.padding_does_not_count,
        "padding in training": checks.padding_does_not_train,
        "order": partial(checks.order_counts, ordered=False),
        "shares": partial(checks.frames_count_unlike, even=False),
        "inputs": checks.inputs_count,
        "gradients": checks.gradients_reach_every_weight,
        "statistics": checks.training_moves_statistics_alone,
        "no frames": checks.a_video_without_frames_is_finite,
        "config": partial(checks.config_round_trip, options=OPTIONS),
        "file": partial(checks.keras_file_round_trip, folder=folder),
        "bfloat16": checks.runs_in_mixed_bfloat16,
    }


def caught(check, subject: Subject) -> bool:
    try:
        check(subject)
    except (AssertionError, TypeError, ValueError, tf.errors.InvalidArgumentError):
        return True
    return False


def test_a_right_layer_passes(tmp_path):
    subject = Subject(lambda: toys.Right(**OPTIONS), "frames")
    for check in of_frames(tmp_path).values():
        check(subject)


@pytest.mark.parametrize(
    ("toy", "check"),
    [
        (toys.TakesSevenFrames, "shapes"),
        (toys.MixesTheBatch, "mixing"),
        (toys.TakesPaddingForFrames, "padding"),
        (toys.NormsPadding, "padding in training"),
        (toys.PaddingGetsGradients, "padding in training"),
        (toys.WeighsByPosition, "order"),
        (toys.ConstantAttention, "shares"),
        (toys.ConstantAttention, "gradients"),
        (toys.Constant, "inputs"),
        (toys.DeadWeight, "gradients"),
        (toys.MostlyDeadWeight, "gradients"),
        (toys.BiasBeforeTheNorm, "gradients"),
        (toys.MovesAWeight, "statistics"),
        (toys.MovesInInference, "statistics"),
        (toys.KeepsItsStatistics, "statistics"),
        (toys.MovesWhenFrozen, "statistics"),
        (toys.DividesByNoFrames, "no frames"),
        (toys.HasNoGradientAtZero, "no frames"),
        (toys.ForgetsAnOption, "config"),
        (toys.SavesAnotherOption, "config"),
        (toys.HasAStateThatIsNoWeight, "config"),
        (toys.HasAStateThatIsNoWeight, "file"),
        (toys.KnowsFloat32Alone, "bfloat16"),
        (toys.OverflowsInHalf, "bfloat16"),
    ],
    ids=lambda part: part.replace(" ", "_") if isinstance(part, str) else part.__name__,
)
def test_a_wrong_pooling_is_caught(toy, check, tmp_path):
    assert caught(of_frames(tmp_path)[check], Subject(lambda: toy(**OPTIONS), "frames"))


def test_an_order_that_should_count_and_frames_that_should_count_alike():
    subject = Subject(lambda: toys.Right(**OPTIONS), "frames")
    assert caught(partial(checks.order_counts, ordered=True), subject)
    assert caught(partial(checks.frames_count_unlike, even=True), subject)


def test_a_width_that_is_not_as_it_should_be():
    assert caught(partial(checks.gives_vectors_for_any_batch_and_length, width=11), Subject(lambda: toys.Right(**OPTIONS), "frames"))


def test_a_weight_that_should_get_no_gradient():
    subject = Subject(lambda: toys.Right(**OPTIONS), "frames")
    assert caught(partial(checks.gradients_reach_every_weight, except_for=["gate"]), subject)
    assert not caught(partial(checks.gradients_reach_every_weight, except_for=["bias"]), Subject(toys.BiasBeforeTheNorm, "frames"))


def test_a_constant_gate_is_caught():
    subject = Subject(toys.Gate, "vectors")
    assert caught(partial(checks.is_affine, affine=False), subject)
    assert not caught(partial(checks.is_affine, affine=True), subject)


@pytest.mark.parametrize("toy", [toys.Scores, toys.SoftmaxByExp])
def test_what_is_no_probability_is_caught(toy):
    assert caught(checks.gives_probabilities, Subject(toy, "vectors"))


def test_probabilities_of_half_precision_are_caught():
    subject = Subject(toys.HalfProbabilities, "vectors")
    assert not caught(checks.gives_probabilities, subject)
    assert caught(partial(checks.runs_in_mixed_bfloat16, dtype="float32"), subject)
