"""The design of each twin: what it copies from its data set, at which presets, with which rows.

A twin copies what a data set's authors decided: how many people show what, from where, in which split.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from pydantic import ValidationError

from fercore.data.labels import EXPRESSIONS
from fercore.data.twin_rows import (
    AFFECTNET,
    CAMERAS,
    FERPLUS,
    KDEF_PANS,
    RAFDB,
    SFEW,
    Twin,
    at_hardness,
    bu3dfe,
    crowd,
    kdef,
    multipie,
    wild,
)
from fercore.errors import ParameterError
from fercore.heads import EXPRESSIONS as SHOWN
from fercore.recipe import unknown

UNCALIBRATED = "Nothing: its difficulty is as it was drawn first, and no baseline was held against it."


def calibrated(hardness: float, where: str, version: int = 1, further: str = "") -> str:
    """What a card says of a twin whose hardness was set; a change of it is another version."""
    return (
        f"Strength of the expressions{further} and hardness, {hardness} (calibration {version}): the accuracy of the "
        f"plain ResNet-18 of preset quick on unseen people was brought near {where}. No method of the papers was "
        "looked at."
    )


class Design(NamedTuple):
    """What a twin copies: its title, the published design, how its rows are made, its presets, notes, purpose."""

    title: str
    rows: Callable[[Twin], pd.DataFrame]
    presets: Mapping[str, Twin]
    published: Mapping[str, Any]
    notes: Sequence[str] = ()
    purpose: str = ""
    calibration: str = UNCALIBRATED


def parameters(name: str, preset: str = "quick", **changes: Any) -> Twin:
    """The twin of that name at a preset (smoke, quick, paper), with some parameters changed.

    Raises ParameterError that names each parameter that is unknown or impossible.
    """
    design = design_of(name)
    if preset not in design.presets:
        raise ParameterError(
            f"the twin '{name}' has no preset {preset!r}", do=f"choose from {', '.join(design.presets)}"
        )
    try:
        return Twin.model_validate({**design.presets[preset].model_dump(), **changes})
    except ValidationError as error:
        wrong = [f"{'.'.join(map(str, item['loc'])) or 'twin'}: {item['msg']}" for item in error.errors()]
        known = ", ".join(field for field in Twin.model_fields if field != "name")
        raise ParameterError(f"impossible {name}: {'; '.join(wrong)}", do=f"its parameters are {known}") from None


def as_designed(name: str, made: Mapping[str, Any], **changes: Any) -> bool:
    """Whether a twin that was made so (the card's ``made``) has the parameters that its design has now.

    A parameter that came later stands by itself for what every twin had before.
    """
    then = made.get("parameters")
    if then is None or not then.keys() <= Twin.model_fields.keys():
        return then is None
    return parameters(name, made["preset"], **changes) == Twin.model_validate(then)


def design_of(name: str) -> Design:
    """The design of a twin by its name."""
    if name not in DESIGNS:
        raise ParameterError(unknown("twin", name, DESIGNS))
    return DESIGNS[name]


def rows(twin: Twin) -> pd.DataFrame:
    """One row an image, nothing rendered: the columns of the manifest that the design fixes, ordered by subject.

    ``shown`` is the expression that is rendered, ``expression`` its label; they differ only by label noise. ``seed``
    is equal in the views of one face; ``pan`` and ``tilt`` are the camera's, in degrees; ``level`` 0 is drawn.
    """
    table = design_of(twin.name).rows(twin).assign(source=twin.name)
    if "shown" not in table:
        table["shown"] = table["expression"]
    for column, value in (("split", "all"), ("tilt", 0.0), ("level", 0), ("flash", -1)):
        if column not in table:
            table[column] = value
    return table.reset_index(drop=True)


# ---- the catalogue -------------------------------------------------------------------------------------------------

GENERAL = (
    "Nothing about real people follows from these pictures: they test code and methods, not faces.",
    "Not for training or judging a system that is used on people; no claim about sex, age or skin colour rests on it.",
    "Faces are made from averages and Gaussians: they do not sample any population.",
)
CONTROLLED = (
    "The views of one face show exactly the same face, pose and crop apart; in KDEF, an expression was posed once for "
    "all cameras, too.",
    "A jitter that turns a profile past 90 degrees is turned back by as much: profiles lie at 90 degrees or less.",
)
WILD = (
    "Several images show one person, and nobody is in two splits. Photographs from the web do not say who is on them.",
    "Poses are drawn for each image by itself: no class is turned more than another.",
)
BU_PANS = (-90, -60, -45, -30, 0, 30, 45, 60, 90)
MULTIPIE_EXPRESSIONS = ("neutral", "happiness", "surprise", "squint", "disgust", "scream")
EVERYDAY = {"accessories": 1.0, "scenery": "room", "pose_jitter": 0.0}


def _presets(name: str, smoke: dict[str, Any], quick: dict[str, Any], paper: dict[str, Any], **common: Any) -> dict:
    sizes = {"smoke": {"size": 48} | smoke, "quick": {"size": 64} | quick, "paper": {"size": 112} | paper}
    return {preset: Twin(name=name, **{**common, **values}) for preset, values in sizes.items()}


DESIGNS: dict[str, Design] = {
    "kdef-twin": Design(
        "KDEF twin: 70 people, 7 expressions, 5 pans, 2 series",
        kdef,
        _presets(
            "kdef-twin", {"people": 20, "repeats": 1}, {}, {"size": 224},
            people=70, repeats=2, pans=tuple(KDEF_PANS), levels=(4,), **at_hardness(0.1),
        ),
        {"images": 4900, "people": 70, "women": 35, "expressions": 7, "pans": 5},
        (*CONTROLLED, "Light and background are drawn anew for each view; KDEF was lit softly and evenly.",
         "Expressions are shown at full strength: KDEF's actors were asked for clear ones."),
        "For cross-validation and splits by people as LAN, PhaNet and DML-Net use them on KDEF "
        "{cite}`lundqvist1998kdef`: few people, clear expressions, five known poses.",
        calibrated(0.1, "what PhaNet prints for DenseNet and DML-Net for ResNet-50 on KDEF"),
    ),
    "bu3dfe-twin": Design(
        "BU-3DFE twin: 100 people, 6 expressions in 4 levels and neutral, nine pans, tilts at full strength",
        bu3dfe,
        _presets(
            "bu3dfe-twin",
            {"people": 10, "levels": (2, 4), "pans": (-90, -45, 0, 45, 90)},
            {"pans": BU_PANS},
            {"size": 224, "pans": tuple(sorted((*BU_PANS, -15, 15))), "tilts": (-30, -15, 0, 15, 30)},
            people=100, scenery="studio", pose_jitter=0.0, noise=0.0, **at_hardness(2.0),
        ),
        {"people": 100, "women": 56, "levels": 4, "nine pans": 21600,
         "PATA S1": 12000, "PATA S2": 16000, "PATA S3": 21000},
        (*CONTROLLED, "BU-3DFE is scans, rendered: so are these, in plain light before a plain ground."),
        "For the splits of PATA, PhaNet and DML-Net on BU-3DFE {cite}`yin2006bu3dfe`: expressions in four "
        "strengths, seen from up to eleven pans and from tilted cameras.",
        calibrated(2.0, "what PhaNet prints for DenseNet and PATA for its baseline on BU-3DFE"),
    ),
    "multipie-twin": Design(
        "Multi-PIE twin: 337 people, four sessions, thirteen cameras, twenty lights",
        multipie,
        _presets(
            "multipie-twin",
            {"people": 12, "pans": (-30, 0, 30)},
            {"people": 150, "pans": (-90, -60, -45, -30, -15, 0, 15, 30, 45, 60, 90)},
            {"size": 224, "pans": tuple(CAMERAS)},
            people=337, expressions=MULTIPIE_EXPRESSIONS, scenery="flash", pose_jitter=2.0, accessories=0.5,
            levels=(3, 4), **at_hardness(0.3),
        ),
        {"people": 337, "all four sessions": 129, "PATA S1": 7095, "PATA S2": 6174},
        (*CONTROLLED, "Each recording is lit by one of the twenty lights; Multi-PIE has all twenty of each.",
         "Clothes and hair do not change from session to session."),
        "For the splits of PATA, PhaNet and DML-Net on Multi-PIE {cite}`gross2010multipie`: many people, cameras "
        "15 degrees apart, lights that change.",
        calibrated(0.3, "what PhaNet prints for DenseNet and PATA for its baseline on Multi-PIE"),
    ),
    "rafdb-twin": Design(
        "RAF-DB twin: seven expressions in the wild, 12,271 and 3,068 images",
        wild,
        _presets(
            "rafdb-twin", {"scale": 0.03, "people": 60}, {"scale": 0.5, "people": 2000}, {"people": 4000},
            people=4000, **EVERYDAY, occluders=0.12, blur=1.5, compression=0.3, noise=0.02, levels=(2, 3, 4),
            **at_hardness(0.1),
        ),
        {"train": RAFDB["train"], "test": RAFDB["test"], "pose_over_30": 1248, "pose_over_45": 558},
        WILD,
        "For the official split of RAF-DB {cite}`li2017rafdb` and its pose subsets, which LAN and PCDA report.",
        calibrated(0.1, "what LAN prints for ResNet-18 on RAF-DB"),
    ),
    "ferplus-twin": Design(
        "FERPlus twin: eight expressions, 48 px grey, ten simulated raters",
        wild,
        _presets(
            "ferplus-twin", {"scale": 0.02, "people": 60}, {"scale": 0.15, "people": 1500}, {"people": 4000},
            people=4000, expressions=EXPRESSIONS, grey=True, **EVERYDAY | {"accessories": 0.4}, occluders=0.05,
            exposure=0.8, blur=1.0, noise=0.01, levels=(5,), field=16.3, follows_pitch=True,
            ambiguity=1.0, **at_hardness(0.1),
        ),
        {**FERPLUS, "pose_over_30": 1171, "pose_over_45": 634},
        (*WILD,
         "Faces are ambiguous and raters disagree as often as on the real set: an image has its own probabilities of "
         "the answers, ten simulated raters draw from them, and the face blends its two likeliest expressions.",
         "No rater has a character. Expressions are put on, at 1.25 times the full strength of the other twins.",
         "The crop is as tight as the real set's: eyes and mouth lie where they lie on the mean of its images."),
        "For the official split of FERPlus {cite}`barsoum2016ferplus` and its pose subsets, which LAN and PCDA "
        "report, and for comparing a twin with its real set, which is available here.",
        calibrated(0.1, "what LAN prints for ResNet-18 on FERPlus", 3, ", how much of a second expression shows"),
    ),
    "affectnet-twin": Design(
        "AffectNet twin: eight expressions, unbalanced training, balanced validation, noisy labels",
        wild,
        _presets(
            "affectnet-twin", {"scale": 0.002, "people": 60}, {"scale": 0.04, "people": 2000}, {"scale": 0.25},
            people=10_000, expressions=EXPRESSIONS, **EVERYDAY, occluders=0.15, blur=1.5, compression=0.4,
            noise=0.02, label_noise=0.1, levels=(3, 4), **at_hardness(0.1),
        ),
        {**AFFECTNET, "pose_over_30": 1949, "pose_over_45": 985},
        (*WILD, "The published training split has 287,651 images; the presets render a share of them."),
        "For AffectNet {cite}`mollahosseini2019affectnet` and its pose subsets, which PhaNet, LAN and PCDA "
        "report: unequal classes in training, equal ones in the test, labels that err.",
        calibrated(
            0.1, "what LAN prints for ResNet-18 and PhaNet for DenseNet on AffectNet", further=", share of wrong labels"
        ),
    ),
    "sfew-twin": Design(
        "SFEW twin: seven expressions in film light, with motion",
        wild,
        _presets(
            "sfew-twin", {"scale": 0.3, "people": 40}, {}, {"size": 224},
            people=250, accessories=1.0, scenery="film", pose_jitter=0.0, occluders=0.15, blur=3.0, compression=0.5,
            noise=0.03, label_noise=0.1, levels=(1, 2, 3),
        ),
        {**SFEW, "images": 1394},
        (*WILD, "Frames of one film share actors and light; here only the people return."),
        "For SFEW {cite}`dhall2011sfew`, on which PhaNet tests networks that learnt elsewhere: light and motion "
        "of films.",
    ),
    "identity-twin": Design(
        "Identity twin: as many people as asked, many images of each",
        crowd,
        _presets(
            "identity-twin", {"people": 40, "repeats": 8}, {"people": 800, "repeats": 24}, {"people": 5000},
            people=5000, repeats=40, expressions=EXPRESSIONS, **EVERYDAY, occluders=0.1, blur=1.5, compression=0.3,
            noise=0.02, grey=True,
        ),
        {},
        (*WILD, "Grey: in colours, the tone of the skin alone would tell many people apart."),
        "For pre-training by telling people apart, in place of collections of celebrities.",
        "Nothing: no baseline exists.",
    ),
    "landmark-twin": Design(
        "Landmark twin: faces in every pose with 68 points",
        crowd,
        _presets(
            "landmark-twin", {"people": 60, "repeats": 4}, {"people": 1500, "repeats": 8}, {"people": 5000},
            people=5000, repeats=12, expressions=tuple(SHOWN), **EVERYDAY, occluders=0.15, blur=1.5, compression=0.3,
            noise=0.02,
        ),
        {},
        WILD,
        "For pre-training by finding 68 landmarks whose place is known exactly, in place of annotated photographs.",
        "Nothing: no baseline exists.",
    ),
}  # fmt: skip
"""Every twin. The twins of Pose-RAF-DB, Pose-FERPlus and Pose-AffectNet are the test rows of these sets whose columns
``pose_over_30`` and ``pose_over_45`` are set, as they are in the real ones."""
