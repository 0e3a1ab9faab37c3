"""What is said of numbers: by another paper, under another protocol, of their rank, and of a part beside the whole."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from fercore import published
from fercore.studies.audit.basis import Check, half_unit, sizes

# -------------------------------------------------------------------- quoted


def quotations() -> pd.DataFrame:
    """Every accuracy that a table prints for a method, with the range of pans or other images; a row each printing."""
    cells = published.load()
    place = cells["paper"] + cells["table"]
    by_class = place[(cells["row"] == "Average") | (cells["row"] == "anger")]
    chosen = ~place.isin(by_class) & cells["metric"].isin(("accuracy", "pose accuracy")) & cells["value"].notna()
    cells = cells[chosen].copy()
    known = {(line.paper, line.row): line.method for line in published.read("methods").itertuples()}
    cells["method"] = [known.get(name, name[1]) for name in zip(cells["paper"], cells["row"], strict=True)]
    cells["images"] = cells["protocol"].str.partition(",")[0].str.replace(r".*\((.*)\)", r"\1", regex=True)
    pans = cells["column"].where(cells["column"].str.fullmatch(r"-?\d+"), "")
    cells["pan"] = pans.mask(cells["images"] == "frontal", "0")
    return cells


def quoted() -> Iterator[Check]:
    """One method's number as two papers print it: it must be the same on the same images, or where none are named.

    The same number for other images is a check of kind ``protocol`` that fails; the remark says where else it is.
    """
    keys = ["dataset", "metric", "pan", "method"]
    for (dataset, metric, pan, method), group in quotations().groupby(keys, sort=False):
        rows = list(group.drop_duplicates(["paper", "images"]).itertuples())
        for k, other in enumerate(rows):
            earlier = [one for one in rows[:k] if one.paper != other.paper]
            same = [one for one in earlier if one.images == other.images or not (one.images and other.images)]
            for one in same[:1]:
                fits = abs(one.value - other.value) <= max(half_unit(one.printed), half_unit(other.printed))
                where = ", ".join(filter(None, (dataset, other.images or one.images, f"pan {pan}" if pan else "")))
                what, place = f"{method}, {where}: {metric}", f"{published.PAPERS[one.paper]} {one.table}"
                yield Check(other.paper, other.table, "quoted", what, other.printed, one.printed, fits, place)
            for one in earlier:
                if one not in same and not pan and metric == "accuracy" and abs(one.value - other.value) < 0.006:
                    there = f"{published.PAPERS[one.paper]} {one.table}"
                    what = f"{method}, {dataset}: {other.printed} here and in {there}"
                    yield Check(other.paper, other.table, "protocol", what, other.images, one.images, False)


def orders() -> Iterator[Check]:
    """Ranks that prose states (``ranks.csv``)."""
    for line in published.read("ranks").itertuples():
        cells = published.load(line.paper, line.table).query("dataset == @line.dataset and value.notna()")
        cells = cells[cells[line.among] == getattr(line, line.among)] if line.among else cells
        for axis in ("row", "column"):
            cells = cells[(cells[axis] != "Average") | (getattr(line, axis) == "Average")]
        own = published.value(line.paper, line.table, line.row, line.column, line.dataset)
        ahead = cells[cells["value"] > own] if line.end == "highest" else cells[cells["value"] < own]
        rank, said = len(ahead) + 1, int(line.said)
        named = ", ".join(f"{c.row}, {c.column}: {c.printed}" for c in ahead.head(2).itertuples())
        remark = f"before it: {named}{' and others' * (len(ahead) > 2)}" if rank != said else ""
        yield Check(line.paper, line.table, "order", line.what, line.said, str(rank), rank == said, remark)


# ------------------------------------------------------------------- subsets


def subsets() -> Iterator[Check]:
    """LAN Tables 2-5: one model on all test images and on the turned ones. Are the rest as hard as they should be?

    Turned faces are expected to be no easier than the others. A check fails where
    they are, by more than chance explains (two proportions, 1.96 standard errors).
    """
    for table, dataset in (("T2", "RAF-DB"), ("T3", "FERPlus"), ("T4", "AffectNet")):
        of = published.cell("lan", table, "LAN")["protocol"]
        whole = next(iter(sizes(dataset, of).values()))
        turned = next(iter(sizes(f"Pose-{dataset}", "> 30").values()))
        for method in ("ResNet-18", "RAN", "SCN", "LAN"):
            every = published.cell("lan", table, method, "accuracy")
            part = published.cell("lan", "T5", method, "> 30", f"Pose-{dataset}")
            p, rest = part["value"] / 100, (every["value"] * whole - part["value"] * turned) / (whole - turned) / 100
            error = (p * (1 - p) / turned + rest * (1 - rest) / (whole - turned)) ** 0.5
            fits = bool(p - rest <= 1.96 * error)
            what = (
                f"{method}, {dataset}: accuracy beyond 30 degrees, at most that of the other {whole - turned:,} images"
            )
            remark = "" if fits else f"the whole set has {every['printed']} in {table}: two different runs, it seems"
            yield Check("lan", "T5", "subset", what, str(part["printed"]), f"{100 * rest:.2f}", fits, remark)
