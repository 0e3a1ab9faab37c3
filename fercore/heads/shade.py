"""Kernels that light what the rasteriser found: skin, hair, wet eyes, cloth, glass; their materials.

A pixel whose samples show one material at one depth is lit once, with the mean of their colours and normals; where they
differ, each sample is lit. So a row of pixels becomes a list of fragments, the fragments are lit one by one, and their
colours are added up. Everything is float32: a bare number would make what it touches float64.
"""

from __future__ import annotations

import numpy as np

from fercore.heads.raster import FAR, inlined, jit, lit_share

f32 = np.float32
_0, _1 = f32(0), f32(1)
CLOTH, SKIN, HAIR, WET = 0, 1, 2, 3
"""Materials: matt; light that travels under the surface, pores; strands; a mirror highlight."""
NOISE = np.random.default_rng(20).random((64, 64)).astype(np.float32)  # the grain of skin and hair; fits a core's cache
_NORMAL, _COLOUR, _STRAND, _GRAIN, _GLOSS, _X, _Y, _Z, _SHARE = 0, 3, 6, 9, 11, 12, 13, 14, 15  # columns of a fragment
HELD, COLUMNS = 12, 16  # the first are what a vertex holds, too


def _film_curve() -> np.ndarray:
    """What a screen shows of linear light x, for sqrt(x) = 0, 1/640 .. 1.6: over the root the curve is nearly straight.

    Highlights above .7 roll off, then exponent 1/2.2.
    """
    x = (np.arange(1025) / 640) ** 2
    return (np.where(x > 0.7, 0.7 + 0.3 * (1 - np.exp((0.7 - x) / 0.3)), x) ** (1 / 2.2)).astype(np.float32)


FILM = _film_curve()


# ---- materials -----------------------------------------------------------------------------------------------------


@jit
def _noise(u, v):
    """Smooth noise in 0..1 at (u, v), period 64, and its slopes along u and v."""
    low_u, low_v = np.floor(u), np.floor(v)
    fu, fv, iu, iv = u - low_u, v - low_v, int(low_u), int(low_v)
    su, sv = fu * fu * (f32(3) - f32(2) * fu), fv * fv * (f32(3) - f32(2) * fv)
    i, j, k, m = iu & 63, (iu + 1) & 63, iv & 63, (iv + 1) & 63
    a, b, c, d = NOISE[i, k], NOISE[j, k], NOISE[i, m], NOISE[j, m]
    low, high = a + (b - a) * su, c + (d - c) * su
    slope = ((b - a) * (_1 - sv) + (d - c) * sv) * f32(6) * fu * (_1 - fu)
    return low + (high - low) * sv, slope, (high - low) * f32(6) * fv * (_1 - fv)


@jit
def _unit(x, y, z):
    scale = _1 / (np.sqrt(x * x + y * y + z * z) + f32(1e-9))
    return x * scale, y * scale, z * scale


@inlined
def _turned(turn, x, y, z):
    """A direction of the head in the frame of the camera."""
    return (
        turn[0, 0] * x + turn[0, 1] * y + turn[0, 2] * z,
        turn[1, 0] * x + turn[1, 1] * y + turn[1, 2] * z,
        turn[2, 0] * x + turn[2, 1] * y + turn[2, 2] * z,
    )


@inlined
def _skin_grain(u, v, per_cm, normal, turn):
    """Pores: bumps of a millimetre. A factor of the colour, one of the gloss, and the bent normal.

    They fade where a sample is wider than they are.
    """
    seen = min(_1, max(_0, (per_cm - f32(9)) / f32(14)))
    if seen == _0:
        return _1, _1, normal
    fine, fu, fv = _noise(u * f32(9), v * f32(9))
    wide, _, _ = _noise(u * f32(3.1) + f32(40), v * f32(3.1))
    bx, by, bz = _turned(turn, fu, fv, _0)
    bend = f32(0.055) * seen
    tint = _1 + seen * (f32(0.11) * (fine - f32(0.5)) + f32(0.10) * (wide - f32(0.5)))
    sheen = _1 + seen * (f32(1.2) * fine - f32(0.6))
    return tint, sheen, _unit(normal[0] - bend * bx, normal[1] - bend * by, normal[2] - bend * bz)


@inlined
def _hair_grain(u, v, per_cm, normal, strand):
    """Strands: noise that is long along them and thin across. A factor of the colour, and the bent normal."""
    nx, ny, nz = normal
    lock, lu, _ = _noise(u * f32(2.2), v * f32(0.35))
    seen = min(_1, max(_0, (per_cm - f32(4)) / f32(12)))
    hair, hu, _ = _noise(u * f32(9), v * f32(0.6) + f32(30))
    tint = f32(0.62) + f32(0.5) * lock + seen * f32(0.9) * (hair - f32(0.5))
    # across the strands lies the third axis of normal and strand
    ax, ay, az = ny * strand[2] - nz * strand[1], nz * strand[0] - nx * strand[2], nx * strand[1] - ny * strand[0]
    bend = f32(0.15) * lu + seen * f32(0.28) * hu
    return max(f32(0.2), tint), _unit(nx - bend * ax, ny - bend * ay, nz - bend * az)


@jit
def _highlights(material, gloss, mirror, facing, strand, half):
    """Light mirrored at the surface, and light tinted inside hair.

    ``mirror``: cosine of the normal and ``half``, the direction between light and viewer; ``facing``: of the normal and
    the light.
    """
    if material == HAIR:  # two highlights across the strands
        along = strand[0] * half[0] + strand[1] * half[1] + strand[2] * half[2]
        near, far = along + f32(0.10), along - f32(0.16)
        soft = gloss * max(_0, facing * f32(0.7) + f32(0.3))
        bright, tinted = max(_0, _1 - near * near) ** 60, max(_0, _1 - far * far) ** 14
        return soft * f32(0.09) * bright, soft * f32(2.2) * tinted
    if material == WET and gloss > f32(0.9):
        return f32(1.6) * mirror**256 + f32(0.05) * mirror**16, _0
    if material == WET:
        return gloss * (f32(0.5) * mirror**64 + f32(0.06) * mirror**8), _0
    return gloss * (f32(0.10) * mirror**10 + f32(0.16) * mirror**38), _0


@inlined
def _lit_colour(material, colour, gloss, normal, view, strand, lights, reached, open_, out):
    """Light that a surface sends to the viewer, RGB into ``out`` (3,). Rows of ``lights``: see `shade`."""
    nx, ny, nz = normal
    facing = nx * lights[5, 0] + ny * lights[5, 1] + nz * lights[5, 2]
    half = _unit(lights[5, 0] + view[0], lights[5, 1] + view[1], lights[5, 2] + view[2])
    mirror = max(_0, nx * half[0] + ny * half[1] + nz * half[2])
    slant = _1 - max(_0, nx * view[0] + ny * view[1] + nz * view[2])
    beside = max(_0, nx * lights[0, 0] + ny * lights[0, 1] + nz * lights[0, 2])
    shine, tinted = _highlights(material, gloss, mirror, facing, strand, half)
    shine = shine * reached + f32(0.06) * slant * slant * slant * slant * gloss * open_
    if facing <= _0 and material != SKIN:
        reached = reached * f32(0.7)
    for k in range(3):
        wrap, through, near = f32(0.12), reached, open_
        if material == SKIN:  # light goes round an edge under the skin; red light travels furthest
            wrap, through = (f32(0.34), np.sqrt(reached)) if k == 0 else (f32(0.16), reached)
        if k == 0:
            near = np.sqrt(open_)
        diffuse = max(_0, (facing + wrap) / (_1 + wrap)) * through
        all_round = lights[3, k] + (lights[2, k] - lights[3, k]) * (f32(0.5) + f32(0.5) * ny)
        total = lights[1, k] * (diffuse * (f32(0.45) + f32(0.55) * near) + tinted * reached)
        total += (all_round + lights[4, k] * beside) * near
        out[k] = colour[k] * total + shine * (lights[1, k] + f32(0.4) * lights[2, k])


@jit
def _film(value):
    """Encodes linear light for a screen, by `FILM`."""
    place = min(np.sqrt(max(value, _0)) * f32(640), f32(1023.5))
    k = int(place)
    return FILM[k] + (FILM[k + 1] - FILM[k]) * (place - f32(k))


# ---- from samples to fragments -------------------------------------------------------------------------------------


@jit
def _weights(points, a, b, c, x, y):
    """Weights of b and c, in a face, at the centre of the sample (x, y); a has the rest."""
    x0, y0 = points[a, 0], points[a, 1]
    x1, y1, x2, y2 = points[b, 0] - x0, points[b, 1] - y0, points[c, 0] - x0, points[c, 1] - y0
    inverse = _1 / (x1 * y2 - x2 * y1)
    px, py = f32(x) + f32(0.5) - x0, f32(y) + f32(0.5) - y0
    return (px * y2 - x2 * py) * inverse, (x1 * py - px * y1) * inverse


@jit
def hold(normals, colours, strands, coords, gloss, held):
    """Writes what a vertex holds side by side to ``held`` (V, HELD): one place in memory instead of five."""
    for i in range(held.shape[0]):
        for k in range(3):
            held[i, _NORMAL + k] = normals[i, k]
            held[i, _COLOUR + k] = colours[i, k]
            held[i, _STRAND + k] = strands[i, k]
        held[i, _GRAIN], held[i, _GRAIN + 1], held[i, _GLOSS] = coords[i, 0], coords[i, 1], gloss[i]


@inlined
def _add_texel(texture, share, found, at):
    """Adds ``share`` of the ``texture`` (h, w, 3) at the fragment's place in it, between texels; v grows upwards."""
    h, w = texture.shape[0], texture.shape[1]
    x = min(max(found[at, _GRAIN] * f32(w) - f32(0.5), _0), f32(w - 1))
    y = min(max((_1 - found[at, _GRAIN + 1]) * f32(h) - f32(0.5), _0), f32(h - 1))
    i, j = int(x), int(y)
    fx, fy = x - f32(i), y - f32(j)
    i1, j1 = min(i + 1, w - 1), min(j + 1, h - 1)
    for k in range(3):
        low = texture[j, i, k] * (_1 - fx) + texture[j, i1, k] * fx
        high = texture[j1, i, k] * (_1 - fx) + texture[j1, i1, k] * fx
        found[at, _COLOUR + k] += share * (low + (high - low) * fy)


@inlined
def _add_sample(z, f, x, y, share, points, faces, held, found, at):
    """Adds ``share`` of what face ``f`` shows at the sample (x, y), ``z`` cm away, to the fragment ``at``."""
    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
    u, v = _weights(points, a, b, c, x, y)
    u, v = u * share, v * share
    w = share - u - v
    for k in range(HELD):
        found[at, k] += held[a, k] * w + held[b, k] * u + held[c, k] * v
    found[at, _X] += share * (f32(x) + f32(0.5))
    found[at, _Y] += share * (f32(y) + f32(0.5))
    found[at, _Z] += share * z


@inlined
def _is_plain(depth, face, row, column, s, faces, material, step):
    """Whether all samples of a pixel show one material, at depths that differ by less than ``step`` cm.

    Never an eye: its mirror highlight is smaller than a pixel.
    """
    kind, low, high = -1, FAR, -FAR
    for y in range(row * s, row * s + s):
        for x in range(column * s, column * s + s):
            f = face[y, x]
            if f < 0:
                return False
            here = material[faces[f, 0]]
            if here == WET or (kind >= 0 and here != kind):
                return False
            kind, low, high = here, min(low, depth[y, x]), max(high, depth[y, x])
    return high - low < step


@jit
def fragments(depth, face, points, faces, held, material, texture, step, row, found, kinds, columns, empty):
    """What a row of pixels shows: ``found`` (N, COLUMNS), with materials and columns (N,); returns how many.

    held (V, HELD): what a vertex has; step: cm of depth within a pixel that is lit once; ``empty`` (n,): the share of
    each pixel's samples that show nothing.
    """
    n = len(empty)
    s, count = depth.shape[0] // n, 0
    share = _1 / f32(s * s)
    for column in range(n):
        plain, begun = _is_plain(depth, face, row, column, s, faces, material, step), False
        part = share if plain else _1
        empty[column] = _0
        for y in range(row * s, row * s + s):
            for x in range(column * s, column * s + s):
                f = face[y, x]
                if f < 0:
                    empty[column] += share
                    continue
                if not (plain and begun):
                    found[count] = _0
                    found[count, _SHARE] = _1 if plain else share
                    kinds[count], columns[count] = material[faces[f, 0]], column
                    count, begun = count + 1, True
                _add_sample(depth[y, x], f, x, y, part, points, faces, held, found, count - 1)
                if texture.shape[0] > 1:
                    _add_texel(texture, part, found, count - 1)
    return count


# ---- light ---------------------------------------------------------------------------------------------------------


@inlined
def _light_fragment(found, at, material, camera, lights, shadow, light_frame, open_, out):
    """Encoded colour (3,) of one fragment, into ``out``; the arguments are those of `shade`."""
    per_cm, unit_ray, middle = camera[3, 0], camera[3, 1], camera[3, 2]
    z = found[at, _Z]
    px, py = (found[at, _X] - middle) * unit_ray * z, (middle - found[at, _Y]) * unit_ray * z
    view = _unit(-px, -py, z)
    nx, ny, nz = _turned(camera, found[at, _NORMAL], found[at, _NORMAL + 1], found[at, _NORMAL + 2])
    nx, ny, nz = _unit(nx, ny, nz)
    if nx * view[0] + ny * view[1] + nz * view[2] < _0:  # a back face: the inside of the mouth, hair from below
        nx, ny, nz = -nx, -ny, -nz
    reached = _0
    if nx * lights[5, 0] + ny * lights[5, 1] + nz * lights[5, 2] > f32(-0.35):  # the key light can't go round further
        reach, offset, near = light_frame[4, 0], light_frame[4, 1], light_frame[4, 2]
        # looked up off the surface, or it shadows itself
        x, y, depth = _turned(light_frame, px + offset * nx, py + offset * ny, offset * nz - z)
        x, y, depth = x + light_frame[3, 0], y + light_frame[3, 1], depth + light_frame[3, 2] - near
        reached = lit_share(shadow, x, y, depth, reach)
    tint, sheen, normal, strand = _1, _1, (nx, ny, nz), (_0, _0, _0)
    u, v = found[at, _GRAIN], found[at, _GRAIN + 1]
    if material == SKIN:
        tint, sheen, normal = _skin_grain(u, v, per_cm, normal, camera)
    elif material == HAIR:
        sx, sy, sz = _turned(camera, found[at, _STRAND], found[at, _STRAND + 1], found[at, _STRAND + 2])
        strand = _unit(sx, sy, sz)
        tint, normal = _hair_grain(u, v, per_cm, normal, strand)
    colour = found[at, _COLOUR] * tint, found[at, _COLOUR + 1] * tint, found[at, _COLOUR + 2] * tint
    _lit_colour(material, colour, found[at, _GLOSS] * sheen, normal, view, strand, lights, reached, open_, out)
    for k in range(3):
        out[k] = _film(out[k])


@jit
def light(found, kinds, columns, count, camera, lights, shadow, light_frame, open_, picture):
    """Lights a row's first ``count`` fragments and adds them to its ``picture`` (n, 3), encoded."""
    lit = np.empty(3, f32)
    for i in range(count):
        column = columns[i]
        _light_fragment(found, i, kinds[i], camera, lights, shadow, light_frame, open_[column], lit)
        for k in range(3):
            picture[column, k] += found[i, _SHARE] * lit[k]


@jit
def glaze(glass_depth, glass_face, depth, faces, held, camera, row, picture):
    """Whitens a row's ``picture`` where glass is before it: a streak of sky across the lens, and more at a slant."""
    n = picture.shape[0]
    s = depth.shape[0] // n
    for column in range(n):
        pane = _0
        for y in range(row * s, row * s + s):
            for x in range(column * s, column * s + s):
                f = glass_face[y, x]
                if f < 0 or glass_depth[y, x] >= depth[y, x]:
                    continue
                a = faces[f, 0]
                _, _, nz = _turned(camera, held[a, _NORMAL], held[a, _NORMAL + 1], held[a, _NORMAL + 2])
                streak = (held[a, _GRAIN] + f32(0.9) * held[a, _GRAIN + 1] - f32(0.55)) / f32(0.22)
                pane += f32(0.16) * np.exp(-streak * streak) + f32(0.05) + f32(0.3) * (_1 - abs(nz)) ** 3
        pane /= f32(s * s)
        for k in range(3):
            picture[column, k] = picture[column, k] * (_1 - pane) + pane * (f32(0.90) + f32(0.05) * f32(k))


@jit
def shade(
    depth, face, glass_depth, glass_face, points, faces, held, material, texture,
    camera, lights, shadow, light_frame, open_, behind, out,
):  # fmt: skip
    """Encodes the colour of each pixel to ``out`` (n, n, 3) uint8.

    depth, face: of each sample, and the same of glass (no rows when there is none); held (V, HELD) and material (V,) of
    the vertices: see `hold`; texture: replaces the colours unless it is a single texel;
    camera (4, 3): its rotation, then samples a cm, cm a sample and cm of depth, middle of the picture in samples;
    lights (6, 3): direction of the side light, colours of key, sky, ground and side, direction of the key light;
    shadow (S, S): depth seen from the key light; light_frame (5, 3): axes and shift from the camera to there, then
    blur in texels, how far off the surface in cm and how much nearer in cm a point is looked up;
    open_ (n, n): ambient occlusion; behind (n, n, 3): the encoded background.
    """
    n, side = out.shape[0], depth.shape[0]
    samples = side * (side // n)
    step = f32(0.35) + f32(1.2) * f32(side // n) / camera[3, 0]
    found, picture, empty = np.empty((samples, COLUMNS), f32), np.empty((n, 3), f32), np.empty(n, f32)
    kinds, columns = np.empty(samples, np.int32), np.empty(samples, np.int32)
    for row in range(n):
        count = fragments(
            depth, face, points, faces, held, material, texture, step, row, found, kinds, columns, empty
        )  # fmt: skip
        for column in range(n):
            for k in range(3):
                picture[column, k] = empty[column] * behind[row, column, k]
        light(found, kinds, columns, count, camera, lights, shadow, light_frame, open_[row], picture)
        if len(glass_depth):
            glaze(glass_depth, glass_face, depth, faces, held, camera, row, picture)
        for column in range(n):
            for k in range(3):
                out[row, column, k] = np.uint8(f32(255) * min(_1, picture[column, k]) + f32(0.5))
