"""The acceptance matrix: every registered component, in every form, against every property."""

import pytest
from matrix import checks
from matrix.cases import CASES, ENCODER_CASES, FRAME_CASES, HEAD_CASES, LABEL_LAYER_CASES, Case

every_component = pytest.mark.parametrize("case", CASES, ids=str)
every_component_of_frames = pytest.mark.parametrize("case", FRAME_CASES, ids=str)


@every_component
def test_gives_vectors_for_any_batch_and_length(case: Case):
    checks.gives_vectors_for_any_batch_and_length(case.subject, case.width)


@every_component
def test_videos_do_not_mix(case: Case):
    checks.videos_do_not_mix(case.subject)


@every_component_of_frames
def test_padding_does_not_count(case: Case):
    checks.padding_does_not_count(case.subject)


@every_component_of_frames
def test_padding_does_not_train(case: Case):
    checks.padding_does_not_train(case.subject)


@every_component_of_frames
def test_order_counts_where_it_should(case: Case):
    checks.order_counts(case.subject, case.ordered)


@every_component_of_frames
def test_frames_count_unlike_where_they_should(case: Case):
    checks.frames_count_unlike(case.subject, case.even)


@every_component_of_frames
def test_a_video_without_frames_is_finite(case: Case):
    checks.a_video_without_frames_is_finite(case.subject)


@every_component
def test_inputs_count(case: Case):
    checks.inputs_count(case.subject)


@pytest.mark.parametrize("case", ENCODER_CASES, ids=str)
def test_encoders_are_not_affine_unless_they_should(case: Case):
    checks.is_affine(case.subject, case.affine)


@pytest.mark.parametrize("case", [*HEAD_CASES, *LABEL_LAYER_CASES], ids=str)
def test_gives_probabilities(case: Case):
    checks.gives_probabilities(case.subject)


@every_component
def test_gradients_reach_every_weight(case: Case):
    checks.gradients_reach_every_weight(case.subject, case.reached, case.normed_away)


@every_component
def test_training_moves_statistics_alone(case: Case):
    checks.training_moves_statistics_alone(case.subject)


@every_component
def test_config_round_trip(case: Case):
    checks.config_round_trip(case.subject, case.options)


@every_component
def test_keras_file_round_trip(case: Case, tmp_path):
    checks.keras_file_round_trip(case.subject, tmp_path)


@every_component
def test_runs_in_mixed_bfloat16(case: Case):
    is_last = case in HEAD_CASES or case in LABEL_LAYER_CASES
    checks.runs_in_mixed_bfloat16(case.subject, "float32" if is_last else "bfloat16")
