"""The recipes that come with the package, against what the papers report and the sizes that follow from their layers."""

import re

import pytest
from click.testing import CliRunner

import cli
from trainers import describe
from trainers.recipe import FOLDER, Published, Recipe, load, names

# Typed from the papers' tables, not from the recipes. Garg (2018): batch size, Hit@1, PERR, MAP, GAP.
GARG_TABLE_2 = """
lstm_1                    256 .848 .741 .334 .805
lstm_2                    256 .859 .754 .354 .816
lstm_2_1280_640           256 .862 .759 .357 .820
lstm_3                    128 .874 .776 .399 .837
lstm_3_residual           128 .877 .780 .422 .842
lstm_1_max                256 .844 .735 .341 .795
lstm_1_attention          256 .863 .761 .378 .822
bilstm_1                  256 .874 .778 .437 .839
bilstm_2                  128 .869 .771 .409 .833
stacked_bilstm_2          128 .876 .780 .427 .841
bilstm_3                  128 .866 .763 .359 .824
stacked_bilstm_3_residual 128 .866 .752 .358 .828
multi_modal_dbof          512 .854 .747 .353 .800
multi_modal_lstm          128 .856 .752 .358 .814
"""
GARG_TABLE_3 = """
residual_cnn_fc_320       1024 .832 .726 .348 .782
residual_cnn_fc_1024      1024 .840 .735 .374 .795
residual_cnn_320_mean     256  .851 .724 .304 .796
residual_cnn_320_max      256  .862 .764 .418 .822
residual_cnn_512_mean     256  .857 .758 .408 .818
residual_cnn_512_max      256  .864 .766 .428 .827
residual_cnn_1024_mean    256  .861 .764 .425 .825
residual_cnn_1024_max     256  .863 .768 .427 .831
"""

# GAP. "-": the paper has the row, but no figure.
NA = {  # et al. (2017)
    "Table 1": "lstm_final_states .811  lstm_m .815  lstm_m_o .820  lstm_m_o_ln .815  cnn_64 .704  cnn_256 .753  cnn_1024 -"
    "  position_encoding .782  indirect_clustering .801  indirect_clustering_as_run .801  adaptive_noise .782",
    "Table 2": "many_to_many .791  moe_two_layer_2 .424  moe_two_layer_16 .421  mlp_4096 .802  mlp_4096_ln .809",
    "Table 3": "label_layer_beta_0_3 .784  label_layer_beta_0_1 .787  label_layer_gamma_0_1 .788  label_layer_beta_0_01 .790"
    "  label_layer_gamma_0_01 .790  label_layer_beta_gamma_0_01 .788",
    "Table 4": "indirect_clustering_moe_16 .798  indirect_clustering_center .799  indirect_clustering_huber_0_5 .803"
    "  indirect_clustering_huber_1 .801  indirect_clustering_huber_2 .798  indirect_clustering_huber_3 .794",
    "section 3.3": "lstm_m_o_huber .820",
}
CHO = {  # et al. (2018)
    "Table 1": "gated_netfv -  gated_soft_dbow -  soft_dbow_8000 -  gated_netrvlad -  gru_2_1024 -  lstm_2_all_states -",
    "Table 2": "gated_netvlad .8575  gated_netvlad_label_relations .8788  gated_netvlad_800 .8732  moe16 -",
}
TANG = {  # et al. (2018)
    "Table 1": "lfnl_netvlad .8703  efnl_netvlad .8674  lfnl_netrvlad .8687  soft_bof_4096 .8525  soft_bof_8000 .8512  gru_2_1200 .8568",
    "Table 2": "lfnl_netvlad .8716  lfnl_netrvlad .8704  efnl_netvlad .8704  soft_bof_4096 .8574  soft_bof_8000 .8563  gru_2_1200 .8612",
    "section 3.3": "netvlad_64 .8698",
}
HUANG = {"abstract": "netvlad_segment_classes .85", "section 2": "spatial_temporal_cnn .68"}  # (2019)
OF_NO_PAPER = {"average", "logistic", "moe_student"}
CLASSES = {"YouTube-8M 2017": {4716}, "YouTube-8M 2018": {3862, 1000}}  # 1000: of the segments


@pytest.fixture(autouse=True, scope="module")
def _assembled_once():
    """Each recipe's layers are made once, for the command and for the counts here."""
    genuine, made = describe.layers, {}

    def layers(recipe: Recipe) -> list[describe.Row]:
        key = recipe.dump()
        if key not in made:
            made[key] = genuine(recipe)
        return list(made[key])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(describe, "layers", layers)
        yield


Reported = tuple[str, str, int, tuple[tuple[str, float], ...]]  # recipe, paper and table, classes, figures


def reported() -> set[Reported]:
    rows: set[Reported] = set()
    for table, text in (("Table 2", GARG_TABLE_2), ("Table 3", GARG_TABLE_3 + "moe 1024 .854 .759 .466 .817")):
        for line in text.strip().splitlines():
            name, _, *values = line.split()
            figures = dict(zip(("hit_at_1", "perr", "map", "gap"), map(float, values), strict=True))
            rows.add((name, f"Garg (2018), {table}", 3862, tuple(sorted(figures.items()))))
    papers = {
        "Na et al. (2017)": (NA, 4716),
        "Cho et al. (2018)": (CHO, 3862),
        "Tang et al. (2018)": (TANG, 3862),
        "Huang (2019)": (HUANG, 1000),
    }
    for paper, (tables, classes) in papers.items():
        for table, text in tables.items():
            words = text.split()
            for name, value in zip(words[::2], words[1::2], strict=True):
                rows.add((name, f"{paper}, {table}", classes, () if value == "-" else (("gap", float(value)),)))
    return rows


def in_recipe(name: str, published: Published) -> Reported:
    table = ", ".join(published.source.split(", ")[:2])
    return name, table, published.num_classes, tuple(sorted(published.figures.items()))


def test_every_published_row_has_a_recipe_with_its_figures():
    found = [in_recipe(name, published) for name in names() for published in load(name).published]
    assert len(found) == len(set(found))
    assert set(found) == reported()


def test_recipes_of_no_paper():
    assert {name for name in names() if not load(name).published} == OF_NO_PAPER


@pytest.mark.parametrize("name", names())
def test_the_file(name):
    recipe = load(name)
    text = (FOLDER / f"{name}.yaml").read_text()
    assert recipe.name == name
    assert "\n" not in recipe.description
    assert max(map(len, text.splitlines())) <= 140
    for published in recipe.published:
        assert published.num_classes in CLASSES[published.dataset.split(",")[0]]
    if name not in {"moe", "moe16", "moe_student", "logistic"}:  # these have values of their own, for small data
        assert recipe.input.scale == 1
        assert recipe.prior_scale is None


@pytest.mark.parametrize("name", names())
def test_describe_counts_its_parameters(name):
    result = CliRunner().invoke(cli.yt8m_train, ["describe", name])
    assert result.exit_code == 0, result.output
    (total,) = re.findall(r"^total +([\d,]+) ", result.output, flags=re.MULTILINE)
    assert int(total.replace(",", "")) == load(name).parameters


# Weights that are trained, and the means and variances of batch norm, for 1024 + 128 features. They follow from the layers that the papers
# and their code describe, and give the model sizes that Tang et al. (2018), Table 1, and Cho et al. (2018), section 3.4, report.
SIZES = [
    ("gated_netvlad", [], 321_528_380, 12_844),
    ("gated_netvlad_800", [], 254_403_420, 12_396),
    ("gated_netrvlad", [], 321_249_852, 12_844),
    ("gated_netfv", [], 321_388_732, 12_460),
    ("gated_soft_dbow", [], 37_168_940, 19_712),
    ("gated_soft_dbow", ["head.name=gated_moe"], 52_091_708, 27_436),
    ("soft_bof_4096", [], 28_772_140, 11_520),
    ("soft_bof_8000", [], 37_338_492, 20_304),
    ("soft_bof_8000", ["pooling.pooling.clusters=8192", "pooling.audio.clusters=1024"], 37_759_788, 20_736),
    ("gru_2_1200", [], 63_466_124, 0),
    ("gru_2_1024", [], 52_536_876, 0),
    ("lstm_2_all_states", [], 96_411_180, 0),
    ("lfnl_netvlad", [], 154_958_464, 12_268),
    ("efnl_netvlad", [], 111_697_852, 12_204),
    ("lfnl_netrvlad", [], 123_235_880, 12_268),
    ("netvlad_segment_classes", [], 309_758_688, 7_376),
]


def counted(name: str, overrides: list[str]) -> tuple[int, int]:
    rows = describe.layers(load(name, overrides))
    return sum(row.trainable for row in rows), sum(row.fixed for row in rows)


@pytest.mark.parametrize(("name", "overrides", "trainable", "statistics"), SIZES)
def test_size(name, overrides, trainable, statistics):
    assert counted(name, overrides) == (trainable, statistics)


@pytest.mark.parametrize(
    ("name", "mebibytes", "published"),  # Tang et al. (2018), Table 1; their NetRVLAD is 478 M, of which 8 are not explained
    [
        ("lfnl_netvlad", 591.2, 593),
        ("efnl_netvlad", 426.1, 427),
        ("soft_bof_4096", 109.8, 109),
        ("soft_bof_8000", 142.5, 143),
        ("gru_2_1200", 242.1, 243),
    ],
)
def test_size_beside_the_published_one(name, mebibytes, published):
    size = sum(counted(name, [])) * 4 / 2**20
    assert size == pytest.approx(mebibytes, abs=0.05)
    assert size == pytest.approx(published, rel=0.01)


def test_the_student_is_below_a_gibibyte_and_its_model_of_full_width_above():
    assert sum(counted("gated_netvlad_800", [])) * 4 < 2**30 < sum(counted("gated_netvlad", [])) * 4


@pytest.mark.parametrize(("size", "trainable"), [(320, 8_276_928), (512, 10_317_312), (1024, 15_758_336)])
def test_size_of_the_residual_cnn(size, trainable):
    """Before the mixture and without batch norm: the products of the channels in Garg (2018), Table 1."""
    (row,) = [row for row in describe.layers(load(f"residual_cnn_{size}_max")) if row.name == "encoder_1"]
    assert row.trainable - row.fixed // 2 == trainable  # batch norm shifts, but does not scale
    convolutions = [(49, 1, 64), (9, 64, 128), (9, 128, 192), (9, 192, 64), (1, 64, 128), (9, 128, 256), (9, 256, 512), (9, 512, 128)]
    convolutions += [(1, 128, 256), (9, 256, 512), (9, 512, 256), (1, 256, size), (9, size, 512), (9, 512, size)]
    assert trainable == 1152 * size + size + sum(taps * into * out + out for taps, into, out in convolutions)


# Na et al. (2017), Table 3: alpha, beta, gamma; Table 4: delta.
LABEL_LAYERS = {"beta_0_3": (1, 0.3, 0), "beta_0_1": (1, 0.1, 0), "gamma_0_1": (1, 0, 0.1)}
LABEL_LAYERS |= {"beta_0_01": (1, 0.01, 0), "gamma_0_01": (1, 0, 0.01), "beta_gamma_0_01": (1, 0.01, 0.01)}
DELTAS = {"0_5": 0.5, "1": 1, "2": 2, "3": 3}


def test_the_grids_of_na():
    for place, factors in LABEL_LAYERS.items():
        recipe = load(f"label_layer_{place}")
        assert tuple(recipe.label_layer.options[factor] for factor in ("alpha", "beta", "gamma")) == factors
        assert recipe.head.options["num_experts"] == 16
    for place, delta in DELTAS.items():
        recipe = load(f"indirect_clustering_huber_{place}")
        assert (recipe.loss.name, recipe.loss.options["delta"]) == ("huber", delta)
        assert recipe.head.options["num_experts"] == 16
    assert load("lstm_m_o_huber").pooling == load("lstm_m_o").pooling


def test_batch_sizes_of_garg():
    for line in (GARG_TABLE_2 + GARG_TABLE_3).split("\n"):
        if line:
            name, batch_size = line.split()[:2]
            assert load(name).training.batch_size == int(batch_size)


def test_learning_rates():
    """Garg (2018), section 5; Na et al., section 2.6; Cho et al., section 3.5, and their student's script; Tang et al., 3.2; Huang, 5."""
    other = {"moe": 1e-3, "moe16": 1e-3, "gated_netvlad_800": 4e-4}
    by_paper = {"Garg (2018), Table 2": 1e-3, "Garg (2018), Table 3": 1e-4, "Na et al. (2017)": 6e-4}
    by_paper |= {"Cho et al. (2018)": 2e-4, "Tang et al. (2018)": 2e-4, "Huang (2019)": 2e-4}
    for name in set(names()) - OF_NO_PAPER:
        source = load(name).published[0].source
        (rate,) = [rate for paper, rate in by_paper.items() if source.startswith(paper)]
        assert load(name).training.learning_rate == other.get(name, rate), name


@pytest.mark.parametrize("name", ["gated_netvlad", "gated_netfv", "gated_netrvlad", "gated_soft_dbow", "soft_dbow_8000"])
def test_clustering_models_draw_300_frames(name):
    """Cho et al. (2018), section 3.5."""
    frames, training = load(name).frames, load(name).training
    assert (frames.sample, frames.count) == ("random", 300)
    assert (training.decay, training.decay_examples) == (0.8, 4_000_000)


def test_the_table_of_the_docs():
    """Each recipe of a paper has a row: the paper, files that exist and hold its components, and its figures."""
    trainers = FOLDER.parent
    text = (trainers.parent / "docs" / "systems.md").read_text()
    rows = re.findall(r"^\| (\w+) [^|]*\| `(\w+)` \| ([^|]*) \| ([^|]*) \|$", text, flags=re.MULTILINE)
    assert sorted(name for _, name, _, _ in rows) == sorted(set(names()) - OF_NO_PAPER)
    for paper, name, folders, figures in rows:
        recipe = load(name)
        files = []
        for listed in folders.split("; "):  # as in "pooling/late_fusion, netvlad"
            folder, _, inside = listed.rpartition("/")
            files += [trainers / folder / f"{file}.py" for file in inside.split(", ")]
        assert all(file.is_file() for file in files), name
        assert set(re.findall(r"\w+", recipe.components)) - {"netrvlad"} <= {file.stem for file in files}, name
        assert all(published.source.startswith(paper) for published in recipe.published)
        shown = [[float(value) for value in each.split(" / ")] for each in figures.split("; ") if each != "–"]
        order = ("gap", "map", "perr", "hit_at_1")
        assert shown == [[p.figures[key] for key in order if key in p.figures] for p in recipe.published if p.figures], name
