"""What is said of numbers: by another paper, under another protocol, of their rank, and of a part beside the whole."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from fercore import published
from fercore.studies.audit.basis import Check, cell_at, half_unit, sizes

# -------------------------------------------------------------------- quoted


def quotations() -> pd.DataFrame:
    """Every accuracy that two or more papers print for one method on the same images; a row each printing."""
    cells = published.load()
    by_class = cells.loc[(cells["row"] == "Average") | (cells["row"] == "anger"), ["paper", "table"]].apply(
        tuple, axis=1
    )
    methods = ~cells[["paper", "table"]].apply(tuple, axis=1).isin(set(by_class))
    cells = cells[methods & cells["metric"].isin(("accuracy", "pose accuracy")) & cells["value"].notna()].copy()
    known = {(line.paper, line.row): line.method for line in published.read("methods").itertuples()}
    cells["method"] = [known.get(name, name[1]) for name in zip(cells["paper"], cells["row"], strict=True)]
    cells["images"] = cells["protocol"].str.partition(",")[0]
    cells["pan"] = cells["column"].where(cells["column"].str.fullmatch(r"-?\d+"), "")
    return cells[cells["images"] != ""]


def quoted() -> Iterator[Check]:
    """The same method's number as another paper prints it; the remark says where."""
    keys = ["dataset", "images", "metric", "pan", "method"]
    for (dataset, images, metric, pan, method), group in quotations().groupby(keys, sort=False):
        once = group.drop_duplicates("paper")
        if len(once) < 2:
            continue
        one, *others = once.itertuples()
        for other in others:
            fits = abs(one.value - other.value) <= max(half_unit(one.printed), half_unit(other.printed))
            where = f"{images}{f', pan {pan}' if pan else ''}"
            what, other_place = f"{method}, {dataset}, {where}: {metric}", f"{published.PAPERS[one.paper]} {one.table}"
            yield Check(other.paper, other.table, "quoted", what, other.printed, one.printed, fits, other_place)


def protocols() -> Iterator[Check]:
    """The same number of the same method under two descriptions of what was tested on."""
    whole = (
        quotations()
        .query("pan == '' and metric == 'accuracy'")
        .drop_duplicates(["paper", "dataset", "method", "images"])
    )
    for (dataset, method), group in whole.groupby(["dataset", "method"], sort=False):
        rows = list(group.itertuples())
        for k, one in enumerate(rows):
            for other in rows[:k]:
                if one.paper != other.paper and one.images != other.images and abs(one.value - other.value) < 0.006:
                    what = (
                        f"{method}, {dataset}: {one.printed} here and in {published.PAPERS[other.paper]} {other.table}"
                    )
                    yield Check(one.paper, one.table, "protocol", what, one.images, other.images, False)


def orders() -> Iterator[Check]:
    """Ranks that prose states (``ranks.csv``); the best of a table against a published number it leaves out."""
    for line in published.read("ranks").itertuples():
        cells = published.load(line.paper, line.table).query("dataset == @line.dataset and value.notna()")
        cells = cells[cells[line.among] == getattr(line, line.among)] if line.among else cells
        cells = cells[(cells["row"] != "Average") & (cells["column"] != "Average")]
        own = published.value(line.paper, line.table, line.row, line.column, line.dataset)
        ahead = cells[cells["value"] > own] if line.end == "highest" else cells[cells["value"] < own]
        rank, said = len(ahead) + 1, int(line.said)
        named = ", ".join(f"{c.row}, {c.column}: {c.printed}" for c in ahead.head(2).itertuples())
        remark = f"before it: {named}{' and others' * (len(ahead) > 2)}" if rank != said else ""
        yield Check(line.paper, line.table, "order", line.what, line.said, str(rank), rank == said, remark)
    for dataset, cell, own in (
        ("KDEF", "T2|DML-Net|FER", "T5|PhaNet|FER"),
        ("BU-3DFE", "T5|DML-Net|FER, -90..90", "T1|PhaNet|FER, -90..90"),
        ("BU-3DFE", "T5|DML-Net|FER, -45..45", "T1|PhaNet|FER, -45..45"),
        ("Multi-PIE", "T6|DML-Net|Average", "T3|PhaNet|Average"),
    ):
        best, earlier = cell_at("dmlnet", cell, dataset), cell_at("phanet", own, dataset)
        what = f"{dataset}, {cell.split('|')[2]}: best of the table against PhaNet, which it does not list"
        fits = bool(best["value"] + half_unit(best["printed"]) >= earlier["value"])
        yield Check("dmlnet", best["table"], "order", what, best["printed"], earlier["printed"], fits)


# ------------------------------------------------------------------- subsets


def subsets() -> Iterator[Check]:
    """LAN Tables 2-5: one model on all test images and on the turned ones. Are the rest as hard as they should be?

    Turned faces are expected to be no easier than the others. A check fails where
    they are, by more than chance explains (two proportions, 1.96 standard errors).
    """
    for table, dataset in (("T2", "RAF-DB"), ("T3", "FERPlus"), ("T4", "AffectNet")):
        of = published.load("lan", table)["protocol"].iloc[0]
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
