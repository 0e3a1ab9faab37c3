"""Contact sheets as arrays of pictures (rows, columns, H, W, 3) uint8; `fercore.figures.image_grid` draws them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from fercore.heads.anatomy import REGIONS, Array
from fercore.heads.expressions import EXPRESSIONS
from fercore.heads.light import sample_background, sample_light
from fercore.heads.motion import move_face
from fercore.heads.muscles import ACTION_UNITS, ActionUnits, check_action_units
from fercore.heads.parts import PARTS
from fercore.heads.people import Person, sample_person
from fercore.heads.render import Rendering, level_of_detail, render
from fercore.heads.scene import PAINT, Head, Mesh

_SHOWN_WITH = {22: {25: 0.4}}  # a funnel shows only between parted lips
_PALETTE = np.array(  # muted colours that stay apart in grey, too
    [
        [0.62, 0.62, 0.62],
        [0.55, 0.72, 0.86],
        [0.17, 0.33, 0.55],
        [0.95, 0.85, 0.35],
        [0.85, 0.45, 0.25],
        [0.70, 0.80, 0.50],
        [0.60, 0.15, 0.20],
        [0.50, 0.40, 0.65],
    ]
)


def action_unit_sheet(
    person: Person, size: int, units: Iterable[int] = tuple(ACTION_UNITS), intensity: float = 1.0
) -> tuple[Array, list[str]]:
    """One row: a front view of each action unit at ``intensity``; and their labels."""
    head, units = Head(person, level_of_detail(size)), list(units)
    meshes = [head.mesh({**_SHOWN_WITH.get(unit, {}), unit: intensity}) for unit in units]
    pictures = [render(mesh, size=size, field=18.0, centre=(0.0, -2.8)).image for mesh in meshes]
    return np.array([pictures]), [f"AU {unit}" for unit in units]


def muscle_sheet(person: Person, size: int, units: Iterable[int]) -> Array:
    """One row: how far each action unit moves the skin, from clay (not at all) to dark red (0.9 cm and more)."""
    head, pictures = Head(person, level_of_detail(size)), []
    rest = head.mesh()
    still = _resting_skin(head)
    for unit in units:
        moved = move_face(head.anatomy, person, head.shape, head.age_lines, check_action_units({unit: 1.0})).skin
        far = np.clip(np.linalg.norm(moved - still, axis=1) / 0.9, 0, 1)[:, None]
        paint = _PALETTE[0] * (1 - far) + np.array([0.65, 0.05, 0.08]) * far
        pictures.append(render(_painted(rest, paint), size=size, field=18.0, centre=(0.0, -2.8)).image)
    return np.array([pictures])


def contact_sheet(
    person: Person, expressions: Sequence[str] | Sequence[ActionUnits], yaws: Sequence[float], size: int
) -> Array:
    """A row for each expression (a name, shown by its first variant, or action units), a column for each yaw."""
    head = Head(person, level_of_detail(size))
    recipes = [EXPRESSIONS[e][0] if isinstance(e, str) else e for e in expressions]
    meshes = [head.mesh(recipe) for recipe in recipes]
    return np.array([[render(mesh, yaw, size=size, field=22.0).image for yaw in yaws] for mesh in meshes])


def crowd(seeds: Sequence[int], size: int, columns: int = 8) -> Array:
    """People with these seeds, neutral or happy by turns, each with own pose, light and background."""
    pictures = []
    for place, seed in enumerate(seeds):
        rng = np.random.default_rng(seed)
        head = Head(sample_person(seed), level_of_detail(size))
        smiles = EXPRESSIONS["happiness"]
        mesh = head.mesh(smiles[place // 2 % len(smiles)] if place % 2 else {})
        yaw, pitch, roll = (float(np.clip(rng.normal(0, sd), -40, 40)) for sd in (14, 4, 3))
        light, background = sample_light(rng), sample_background(size, rng)
        picture = render(mesh, yaw, pitch, roll, size, light=light, background=background, field=24.0)
        pictures.append(picture.image)
    blank = [np.full_like(pictures[0], 255)] * (-len(pictures) % columns)
    return np.array(pictures + blank).reshape(-1, columns, size, size, 3)


def pose_sheet(person: Person, yaws: Sequence[float], pitches: Sequence[float], size: int) -> Array:
    """A row for each pitch, a column for each yaw, of one neutral face."""
    mesh = Head(person, level_of_detail(size)).mesh()
    return np.array([[render(mesh, yaw, pitch, size=size, field=22.0).image for yaw in yaws] for pitch in pitches])


def slit_sheet(person: Person, size: int) -> tuple[Array, list[str]]:
    """Close views of the left eye (first row) and of the mouth (second) from shut to wide open, and labels."""
    head = Head(person, 1.0)
    eye, mouth = [{43: 1.0}, {43: 0.5}, {}, {5: 1.0}], [{}, {25: 1.0}, {25: 1.0, 26: 1.0}, {25: 1.0, 27: 1.0}]
    rows = [
        [render(head.mesh(units), size=size, field=10.0, centre=centre).image for units in recipes]
        for recipes, centre in ((eye, (2.8, 0.3)), (mouth, (0.0, -7.0)))
    ]
    return np.array(rows), ["shut", "a little open", "open", "wide open"]


def anatomy_views(person: Person, size: int, yaw: float = 25.0) -> tuple[Array, list[str]]:
    """One row: the skin as clay, its grid, its regions, the picture; and labels."""
    head = Head(person, 1.0)
    mesh, c = head.mesh(), head.anatomy
    clay = np.broadcast_to(_PALETTE[0], c.rest.shape)
    rows, columns = np.divmod(np.arange(len(c.x)), c.index.shape[1])
    on_line = (rows % 6 == 0) | (columns % 6 == 0)
    lined = np.where((on_line & (np.arange(len(c.x)) < c.index.size))[:, None], 0.12, clay)
    views = [_painted(mesh, paint) for paint in (clay, lined, _PALETTE[c.region])] + [mesh]
    pictures = [render(view, yaw, size=size, field=22.0).image for view in views]
    return np.array([pictures]), ["skin alone", "every sixth line of the grid", "regions", "the whole head"]


def region_legend() -> dict[str, str]:
    """Name of each region -> its colour in `anatomy_views`, as #rrggbb."""
    return {name: _hex(colour) for name, colour in zip(REGIONS, _PALETTE, strict=True)}


def knowledge_views(rendering: Rendering) -> tuple[Array, list[str]]:
    """One row: a picture, its depth (near is bright) and its part map; and labels."""
    near, far = np.nanpercentile(np.where(np.isfinite(rendering.depth), rendering.depth, np.nan), [1, 99])
    bright = np.clip((far - rendering.depth) / (far - near + 1e-6), 0, 1)
    depth = np.repeat((255 * bright).astype(np.uint8)[..., None], 3, 2)
    hues = np.random.default_rng(4).uniform(0.25, 0.95, (len(PARTS), 3))
    hues[0] = 1.0
    parts = (255 * hues[rendering.parts]).astype(np.uint8)
    return np.array([[rendering.image, depth, parts]]), ["picture", "depth", "parts"]


def _hex(colour: Array) -> str:
    return "#" + "".join(f"{int(255 * channel):02x}" for channel in colour ** (1 / 1.25))


def _resting_skin(head: Head) -> Array:
    return move_face(head.anatomy, head.person, head.shape, head.age_lines, {}).skin


def _painted(mesh: Mesh, paint: Array) -> Mesh:
    """The skin alone, in other colours."""
    skin = mesh.part == PARTS.index("skin")
    colours = mesh.colours.copy()
    colours[skin] = paint**PAINT
    return mesh._replace(colours=colours, faces=mesh.faces[skin[mesh.faces[:, 0]]])
