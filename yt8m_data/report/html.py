"""One self-contained HTML file that shows what the data looks like, what augmentation did to it and what training made of it.

It loads nothing from anywhere, fits a phone and paper, follows the reader's light or dark setting, and has the same bytes for the same
arguments. A part whose data is not given is left out. Its plots lie beside it as PNG and CSV.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from yt8m_data.report import figures, formats, gates, tables
from yt8m_data.report.painters import HERE, Drawing, Painters
from yt8m_data.report.plots.forms import Plot
from yt8m_data.storage import OnePath, atomic_write

PAGE_ROWS = 100  # of the label table that the document holds at first; its script has all
_PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Stage:
    """Statistics of some shards.

    Attributes:
      name: "Before" or "After"; "Videos" where there is one stage only.
      stats: contents of stats.json.
      cooccurrence: fields of cooccurrence.npz, where there is one.
    """

    name: str
    stats: Mapping[str, Any]
    cooccurrence: Mapping[str, np.ndarray] | None = None


def write_report(
    path: OnePath,
    *,
    title: str,
    stages: Sequence[Stage],
    names: Mapping[int, str],
    command: str,
    versions: Mapping[str, str],
    manifest: Mapping[str, Any] | None = None,
    training: Sequence[Mapping[str, Any]] = (),
    bad: Sequence[Mapping[str, Any]] = (),
    painters: Painters = HERE,
) -> None:
    """Write the page, and its plots as PNG and CSV into a folder beside it: `report_plots` for `report.html`.

    Args:
      path: HTML file to write; it appears whole or not at all.
      title: heading.
      stages: one, or before and after.
      names: label id -> name.
      command: the command line that made all this.
      versions: package -> version.
      manifest: of an augmentation: `totals`, `plan`, and where they are known `neighbors` and `synthetic_label_counts`.
      training: one mapping per run: `name`, and any of `num_examples`, `gap`, `map`, `map_starter`, `perr`, `hit_at_1`,
        and `map_by_frequency`, of ranges of training videos.
      bad: the first bad records: `file`, `index`, `offset`, `reason`.
      painters: who draws.
    """
    drawn = painters.draw(_drawings(stages, manifest, names))
    said = _data_tables(stages, manifest, names) | _job_tables(manifest, training, names)
    template = _template()  # while others draw
    plots = drawn()
    folder = path.with_name(f"{path.stem}_plots")
    _write_plots(folder, plots)
    page = _render(
        template,
        title=title,
        plots={plot.name: plot for plot in plots},
        folder=folder.name,
        command=command,
        versions=versions,
        bad=[(Path(each["file"]).name, formats.number(each["index"]), formats.number(each["offset"]), each["reason"]) for each in bad],
        **said,
    )
    with atomic_write(path) as file:
        file.write(page.encode())


def _drawings(stages: Sequence[Stage], manifest: Mapping[str, Any] | None, names: Mapping[int, str]) -> list[Drawing]:
    """What can be drawn of the stages and the manifest."""
    found = [(stage.name, stage.stats) for stage in stages]
    first, last = stages[0].stats, stages[-1].stats
    drawings = []
    if any(first["label_counts"]):
        if all("zipf" in stats for _, stats in found):
            drawings.append(Drawing("ranks", "rank_frequency", (found, names)))
        if len(stages) == 2:
            drawings.append(Drawing("moves", "moves", (first, last, manifest["plan"]["threshold"] if manifest else None, names)))
    if manifest and "synthetic_label_counts" in manifest:
        counts = (first["label_counts"], last["label_counts"], manifest["synthetic_label_counts"])
        drawings.append(Drawing("augmentation", "synthetic_share", (*counts, names)))
        typical = _typical_distance(first, manifest["neighbors"]["feature"])
        drawings.append(Drawing("augmentation", "distances", (manifest["neighbors"], typical)))
    together = stages[0].cooccurrence
    if together is not None and len(together["data"]):
        drawings.append(Drawing("cooccurrence", "cooccurrence", (together, names)))
    for key, draw in (("labels_per_record", "labels_per_video"), ("frames_per_record", "frames_per_video")):
        if all(key in stats for _, stats in found):
            drawings.append(Drawing("lengths", draw, (found,)))
    for feature in first.get("features", {}):
        if all(feature in stats.get("features", {}) for _, stats in found):
            drawings.append(Drawing("moments", "moments", (feature, [(name, stats["features"][feature]) for name, stats in found])))
    return drawings


def _typical_distance(stats: Mapping[str, Any], feature: str) -> float | None:
    """Root mean square distance of two videos drawn at random: sqrt(2 * sum of the variances)."""
    found = stats.get("features", {}).get(feature)
    return float(np.sqrt(2 * np.sum(found["variance"]))) if found else None


def _write_plots(folder: OnePath, plots: Sequence[Plot]) -> None:
    """Write the plots, and remove those of an earlier page that this one has not."""
    folder.mkdir(exist_ok=True)
    files = {f"{plot.name}.{suffix}": contents for plot in plots for suffix, contents in (("png", plot.png), ("csv", plot.csv))}
    for old in [*folder.glob("*.png"), *folder.glob("*.csv")]:
        if old.name not in files:
            old.unlink()
    for name, contents in files.items():
        with atomic_write(folder / name) as file:
            file.write(contents)


def _data_tables(stages: Sequence[Stage], manifest: Mapping[str, Any] | None, names: Mapping[int, str]) -> dict[str, Any]:
    """What the page says about the data."""
    found = [(stage.name, stage.stats) for stage in stages]
    first = stages[0]
    columns = tables.labels(found, first.cooccurrence, manifest, names)
    return {
        "first_stage": f", {first.name.lower()}" if len(stages) > 1 else "",
        "subtitles": [(name if len(stages) > 1 else "", figures.subtitle(stats)) for name, stats in found],
        "figures": figures.figures([stats for _, stats in found]),
        "groups": tables.groups(found),
        "fits": tables.fits(found),
        "pairs": tables.pairs(first.stats, names),
        "pairs_floor": first.stats.get("pairs", {}).get("min_count"),
        "columns": columns,
        "labels": list(zip(*(column.cells for column in columns), strict=True)),
        "label_sets": tables.label_sets(first.stats, names),
        "slices": tables.slices(first.stats),
        "features": tables.features(found),
        "bad_reasons": tables.bad_reasons(first.stats),
        "num_bad": first.stats.get("bad_records", {}).get("total"),
    }


def _job_tables(manifest: Mapping[str, Any] | None, training: Sequence[Mapping[str, Any]], names: Mapping[int, str]) -> dict[str, Any]:
    """What the page says about an augmentation, and about models."""
    plan = manifest["plan"] if manifest else {}
    return {
        "books": tables.books(manifest["totals"]) if manifest else [],
        "settings": tables.settings(plan),
        "regimes": tables.regimes(plan.get("labels", [])),
        "unfilled": gates.unfilled(manifest or {}, names),
        "gates": gates.distances(manifest or {}),
        "num_near": (manifest or {}).get("holdout", {}).get("near_duplicates"),
        "near": gates.near_duplicates(manifest or {}),
        "training": tables.training(training),
        "metrics": list(tables.METRICS.values()),
        "frequencies": tables.frequencies(training),
    }


def _template() -> jinja2.Template:
    """Compile the template, and those that it takes in."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("yt8m_data.report", "page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = formats.number
    for part in ("parts.html.j2", "sections.html.j2"):
        environment.get_template(part)
    return environment.get_template("report.html.j2")


def _render(template: jinja2.Template, **contents: Any) -> str:
    """Fill the template. The script's digest stands in the content security policy, so no other script can run on the page."""
    style, script = ((_PAGE / name).read_text(encoding="utf-8") for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return template.render(style=style, script=script, script_hash=f"'sha256-{digest}'", page_rows=PAGE_ROWS, **contents)
