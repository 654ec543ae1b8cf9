"""Put a correction of the scores behind the model of a finished run: by the companions of each class (`trainers.companions`)."""

from pathlib import Path

import keras

from trainers import run
from trainers.companions import Companions, companions
from trainers.labels.co_occurrence import read_counts
from yt8m_data.errors import DataError
from yt8m_data.shards import write_json


def correct(run_dir: str, out: str, counts: str, share: float = 0.6, power: float = 0.8, most: int = 9) -> int:
    """Write a run folder whose model has the scores of another run's model, corrected.

    Args:
      run_dir: a finished run, of `fit` or `average`.
      out: the new run folder. It gets correction.json, recipe.yaml, train_set.json and model.keras; it cannot be trained further.
      counts: path of the `cooccurrence.npz` that `yt8m-data stats` makes of the training set.
      share: of a class's videos that carry a companion.
      power: of the companions' scores.
      most: training videos of a class whose scores are corrected; of more, its own videos tell enough, and GAP suffers.

    Returns:
      The number of pairs of a class and a companion.

    Raises:
      DataError: no finished run, counts that are missing or of other classes, an option that cannot be, no pairs, or an `out` that
        holds something.
    """
    folder = Path(out)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise DataError(f"{out} is not an empty folder: give another one for the corrected run")
    recipe, train_set, model = run.load_run(run_dir)
    pairs = companions(read_counts(counts, model.output_shape[-1], "--counts"), share, most)
    if not pairs.size:
        raise DataError(
            f"no class of at most {most} videos has a label that {share:g} of them carry as well: lower --share or raise --most"
        )
    layer = Companions(model.output_shape[-1], pairs.shape[1], power, name="companions")
    corrected = keras.Model(model.input, layer(model.output), name=recipe.name)
    layer.set_pairs(pairs)
    run.begin(folder, recipe, train_set)
    write_json(folder / run.CORRECTION, {"run": str(run_dir), "counts": str(counts), "share": share, "power": power, "most": most})
    run.save_model(folder, corrected)
    return pairs.shape[1]
