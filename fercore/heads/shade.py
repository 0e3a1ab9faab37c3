"""Kernel that lights what the rasteriser found: skin, hair, wet eyes, cloth, glass; their materials."""

from __future__ import annotations

import numpy as np

from fercore.heads.raster import FAR, jit, lit_share

_0, _1 = np.float32(0), np.float32(1)
CLOTH, SKIN, HAIR, WET = 0, 1, 2, 3
"""Materials: matt; light that travels under the surface, pores; strands; a mirror highlight."""
NOISE = np.random.default_rng(20).random((256, 256)).astype(np.float32)  # the grain of skin and hair


@jit
def _noise(table, u, v):
    """Smooth noise in 0..1 at (u, v), period 256, and its slopes along u and v."""
    iu, iv = int(np.floor(u)), int(np.floor(v))
    fu, fv = u - np.float32(iu), v - np.float32(iv)
    su, sv = fu * fu * (np.float32(3) - 2 * fu), fv * fv * (np.float32(3) - 2 * fv)
    i, j, k, m = iu & 255, (iu + 1) & 255, iv & 255, (iv + 1) & 255
    a, b, c, d = table[i, k], table[j, k], table[i, m], table[j, m]
    low, high = a + (b - a) * su, c + (d - c) * su
    slope = ((b - a) * (_1 - sv) + (d - c) * sv) * 6 * fu * (_1 - fu)
    return low + (high - low) * sv, slope, (high - low) * 6 * fv * (_1 - fv)


@jit
def _unit(x, y, z):
    scale = _1 / (np.sqrt(x * x + y * y + z * z) + np.float32(1e-9))
    return x * scale, y * scale, z * scale


@jit
def _sky(lights, k, ny):
    """Light from all round on a surface whose normal rises by ny, channel k."""
    return lights[3, k] + (lights[2, k] - lights[3, k]) * (np.float32(0.5) + np.float32(0.5) * ny)


@jit
def _grain(table, material, strand, uv, per_cm, normal, turn):
    """Fine structure that no vertex holds: a factor of the colour, one of the gloss, and the bent normal.

    Pores of skin are bumps of a millimetre; strands of hair are noise that is long along them and thin across. Both
    fade where a sample is wider than they are.
    """
    nx, ny, nz = normal
    if material == 1:
        seen = min(_1, max(_0, (per_cm - np.float32(9)) / np.float32(14)))
        if seen > 0:
            fine, fu, fv = _noise(table, uv[0] * 9, uv[1] * 9)
            wide, _, _ = _noise(table, uv[0] * np.float32(3.1) + 40, uv[1] * np.float32(3.1))
            bend = np.float32(0.055) * seen
            nx -= bend * (fu * turn[0, 0] + fv * turn[0, 1])
            ny -= bend * (fu * turn[1, 0] + fv * turn[1, 1])
            nz -= bend * (fu * turn[2, 0] + fv * turn[2, 1])
            tint = _1 + seen * (
                np.float32(0.11) * (fine - np.float32(0.5)) + np.float32(0.10) * (wide - np.float32(0.5))
            )
            return tint, _1 + seen * (fine * np.float32(1.2) - np.float32(0.6)), _unit(nx, ny, nz)
    elif material == 2:
        lock, lu, _ = _noise(table, uv[0] * np.float32(2.2), uv[1] * np.float32(0.35))
        seen = min(_1, max(_0, (per_cm - np.float32(4)) / np.float32(12)))
        hair, hu, _ = _noise(table, uv[0] * np.float32(9), uv[1] * np.float32(0.6) + 30)
        tint = np.float32(0.62) + np.float32(0.5) * lock + seen * np.float32(0.9) * (hair - np.float32(0.5))
        # across the strands lies the third axis of normal and strand
        ax, ay, az = ny * strand[2] - nz * strand[1], nz * strand[0] - nx * strand[2], nx * strand[1] - ny * strand[0]
        bend = np.float32(0.30) * (lu - 0) * np.float32(0.5) + seen * np.float32(0.28) * hu
        return max(np.float32(0.2), tint), _1, _unit(nx - bend * ax, ny - bend * ay, nz - bend * az)
    return _1, _1, (nx, ny, nz)


@jit
def _lit_colour(material, colour, gloss, normal, view, strand, lights, light, reached, open_, out):
    """Light that a surface sends to the viewer, RGB into ``out`` (3,)."""
    nx, ny, nz = normal
    facing = nx * light[0] + ny * light[1] + nz * light[2]
    hx, hy, hz = _unit(light[0] + view[0], light[1] + view[1], light[2] + view[2])
    mirror = max(_0, nx * hx + ny * hy + nz * hz)
    slant = _1 - max(_0, nx * view[0] + ny * view[1] + nz * view[2])
    edge = slant * slant * slant * slant
    beside = max(_0, nx * lights[0, 0] + ny * lights[0, 1] + nz * lights[0, 2])
    shine, tinted = _0, _0
    if material == 3:
        shine = np.float32(1.6) * mirror**256 + np.float32(0.05) * mirror**16 if gloss > np.float32(0.9) else _0
        if gloss <= np.float32(0.9):
            shine = gloss * (np.float32(0.5) * mirror**64 + np.float32(0.06) * mirror**8)
    elif material == 2:  # two highlights across the strands: light mirrored at their surface, and tinted inside them
        along = strand[0] * hx + strand[1] * hy + strand[2] * hz
        near, far = along + np.float32(0.10), along - np.float32(0.16)
        soft = max(_0, facing * np.float32(0.7) + np.float32(0.3))
        shine = gloss * soft * np.float32(0.09) * max(_0, _1 - near * near) ** 60
        tinted = gloss * soft * np.float32(2.2) * max(_0, _1 - far * far) ** 14
    else:
        shine = gloss * (np.float32(0.10) * mirror**10 + np.float32(0.16) * mirror**38)
    shine = shine * reached + np.float32(0.06) * edge * gloss * open_
    for k in range(3):
        wrap = (np.float32(0.34) if k == 0 else np.float32(0.16)) if material == 1 else np.float32(0.12)
        through = np.sqrt(reached) if material == 1 and k == 0 else reached  # red light travels furthest in skin
        if facing <= 0:
            through = through if material == 1 else through * np.float32(0.7)
        diffuse = max(_0, (facing + wrap) / (_1 + wrap)) * through
        near = open_ if k > 0 else np.sqrt(open_)
        total = lights[1, k] * diffuse * (np.float32(0.45) + np.float32(0.55) * near)
        total += _sky(lights, k, ny) * near + lights[4, k] * beside * near
        body = colour[k] * total + colour[k] * tinted * lights[1, k] * reached
        out[k] = body + shine * (lights[1, k] + np.float32(0.4) * lights[2, k])


@jit
def _film(value):
    """Encodes linear light for a screen: highlights above .7 roll off, then exponent 1/2.2."""
    if value > np.float32(0.7):
        value = np.float32(0.7) + np.float32(0.3) * (_1 - np.exp((np.float32(0.7) - value) / np.float32(0.3)))
    return max(value, _0) ** np.float32(1 / 2.2)


@jit
def _sample(texture, u, v, out):
    """Bilinear look-up of ``texture`` (h, w, 3) at u, v in 0..1; v grows upwards."""
    h, w = texture.shape[0], texture.shape[1]
    x = min(max(u * np.float32(w) - np.float32(0.5), _0), np.float32(w - 1))
    y = min(max((_1 - v) * np.float32(h) - np.float32(0.5), _0), np.float32(h - 1))
    i, j = int(x), int(y)
    fx, fy = x - np.float32(i), y - np.float32(j)
    i1, j1 = min(i + 1, w - 1), min(j + 1, h - 1)
    for k in range(3):
        low = texture[j, i, k] * (_1 - fx) + texture[j, i1, k] * fx
        out[k] = low * (_1 - fy) + (texture[j1, i, k] * (_1 - fx) + texture[j1, i1, k] * fx) * fy


@jit
def _weights(points, a, b, c, x, y):
    """Barycentric coordinates of the sample (x, y) in a face, and of its depth's gradient nothing: two floats."""
    x0, y0 = points[a, 0], points[a, 1]
    x1, y1, x2, y2 = points[b, 0] - x0, points[b, 1] - y0, points[c, 0] - x0, points[c, 1] - y0
    inverse = _1 / (x1 * y2 - x2 * y1)
    px, py = np.float32(x) + np.float32(0.5) - x0, np.float32(y) + np.float32(0.5) - y0
    return (px * y2 - x2 * py) * inverse, (x1 * py - px * y1) * inverse


@jit
def shade(buffers, glass, points, surface, extra, camera, lights, shadowing, open_, behind, out):
    """Encodes the colour of each pixel to ``out`` (n, n, 3) uint8.

    A pixel whose samples show one material at one depth is lit once, with the mean of their colours and normals;
    where they differ, each sample is lit. ``glass`` are the buffers of what is transparent.
    """
    depth, face = buffers
    glass_depth, glass_face = glass
    faces, normals, colours, gloss, material = surface
    strands, coords, texture, table = extra
    turn, per_cm, unit_ray = camera
    shadow, frame, shift, reach, offset = shadowing
    n = out.shape[0]
    s = depth.shape[0] // n
    middle = np.float32(depth.shape[0]) * np.float32(0.5)
    textured, light = texture.shape[0] > 1, (lights[5, 0], lights[5, 1], lights[5, 2])
    value, picked = np.empty(3, np.float32), np.empty(3, np.float32)
    for row in range(n):
        for column in range(n):
            first = face[row * s, column * s]
            empty, same = first < 0, first >= 0
            kind = material[faces[first, 0]] if first >= 0 else -1
            low = high = depth[row * s, column * s]
            for j in range(s):
                for i in range(s):
                    f = face[row * s + j, column * s + i]
                    empty = empty and f < 0
                    if f < 0 or material[faces[f, 0]] != kind:
                        same = False
                    z = depth[row * s + j, column * s + i]
                    low, high = min(low, z), max(high, z)
            if empty:
                for k in range(3):
                    out[row, column, k] = np.uint8(255 * min(_1, max(_0, behind[row, column, k])) + np.float32(0.5))
                continue
            # an eye's mirror highlight is smaller than a pixel: each sample is lit
            same = same and high - low < np.float32(0.35) + np.float32(1.2) * s / per_cm and kind != 3
            groups = 1 if same else s * s
            total0, total1, total2 = _0, _0, _0
            for g in range(groups):
                nx, ny, nz, tx, ty, tz, uu, vv, wet = _0, _0, _0, _0, _0, _0, _0, _0, _0
                c0, c1, c2, z, sx, sy = _0, _0, _0, _0, _0, _0
                count = s * s if same else 1
                missing = False
                for q in range(count):
                    place = q if same else g
                    y, x = row * s + place // s, column * s + place % s
                    f = face[y, x]
                    if f < 0:
                        missing = True
                        break
                    a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
                    kind = material[a]
                    u, v = _weights(points, a, b, c, x, y)
                    w = _1 - u - v
                    nx += normals[a, 0] * w + normals[b, 0] * u + normals[c, 0] * v
                    ny += normals[a, 1] * w + normals[b, 1] * u + normals[c, 1] * v
                    nz += normals[a, 2] * w + normals[b, 2] * u + normals[c, 2] * v
                    if textured:
                        _sample(
                            texture,
                            coords[a, 0] * w + coords[b, 0] * u + coords[c, 0] * v,
                            coords[a, 1] * w + coords[b, 1] * u + coords[c, 1] * v,
                            picked,
                        )
                        c0, c1, c2 = c0 + picked[0], c1 + picked[1], c2 + picked[2]
                    else:
                        c0 += colours[a, 0] * w + colours[b, 0] * u + colours[c, 0] * v
                        c1 += colours[a, 1] * w + colours[b, 1] * u + colours[c, 1] * v
                        c2 += colours[a, 2] * w + colours[b, 2] * u + colours[c, 2] * v
                    wet += gloss[a] * w + gloss[b] * u + gloss[c] * v
                    z += depth[y, x]
                    sx, sy = sx + np.float32(x), sy + np.float32(y)
                    if (kind == 1 or kind == 2) and not textured:
                        uu += coords[a, 0] * w + coords[b, 0] * u + coords[c, 0] * v
                        vv += coords[a, 1] * w + coords[b, 1] * u + coords[c, 1] * v
                    if kind == 2:
                        tx += strands[a, 0] * w + strands[b, 0] * u + strands[c, 0] * v
                        ty += strands[a, 1] * w + strands[b, 1] * u + strands[c, 1] * v
                        tz += strands[a, 2] * w + strands[b, 2] * u + strands[c, 2] * v
                if missing:
                    for k in range(3):
                        value[k] = behind[row, column, k]
                else:
                    share = _1 / np.float32(count)
                    z, sx, sy, wet = z * share, sx * share + np.float32(0.5), sy * share + np.float32(0.5), wet * share
                    px, py = (sx - middle) * unit_ray * z, (middle - sy) * unit_ray * z
                    vx, vy, vz = _unit(-px, -py, z)
                    nx, ny, nz = (
                        turn[0, 0] * nx + turn[0, 1] * ny + turn[0, 2] * nz,
                        turn[1, 0] * nx + turn[1, 1] * ny + turn[1, 2] * nz,
                        turn[2, 0] * nx + turn[2, 1] * ny + turn[2, 2] * nz,
                    )
                    nx, ny, nz = _unit(nx, ny, nz)
                    if nx * vx + ny * vy + nz * vz < 0:  # a back face: the inside of the mouth, hair from below
                        nx, ny, nz = -nx, -ny, -nz
                    strand = _unit(
                        turn[0, 0] * tx + turn[0, 1] * ty + turn[0, 2] * tz,
                        turn[1, 0] * tx + turn[1, 1] * ty + turn[1, 2] * tz,
                        turn[2, 0] * tx + turn[2, 1] * ty + turn[2, 2] * tz,
                    )
                    # looked up off the surface, or it shadows itself
                    ox, oy, oz = px + offset * nx, py + offset * ny, offset * nz - z
                    reached = lit_share(
                        shadow,
                        frame[0, 0] * ox + frame[0, 1] * oy + frame[0, 2] * oz + shift[0],
                        frame[1, 0] * ox + frame[1, 1] * oy + frame[1, 2] * oz + shift[1],
                        frame[2, 0] * ox + frame[2, 1] * oy + frame[2, 2] * oz + shift[2] - np.float32(0.12),
                        reach,
                    )
                    tint, sheen, normal = _grain(
                        table, 0 if textured else kind, strand, (uu * share, vv * share), per_cm, (nx, ny, nz), turn
                    )
                    tint = tint * share
                    _lit_colour(
                        kind,
                        (c0 * tint, c1 * tint, c2 * tint),
                        wet * sheen,
                        normal,
                        (vx, vy, vz),
                        strand,
                        lights,
                        light,
                        reached,
                        open_[row, column],
                        value,
                    )
                    for k in range(3):
                        value[k] = _film(value[k])
                total0, total1, total2 = total0 + value[0], total1 + value[1], total2 + value[2]
            total0, total1, total2 = total0 / groups, total1 / groups, total2 / groups
            pane = _0
            for j in range(s):
                for i in range(s):
                    y, x = row * s + j, column * s + i
                    f = glass_face[y, x]
                    if f < 0 or glass_depth[y, x] >= depth[y, x] or glass_depth[y, x] >= FAR:
                        continue
                    a = faces[f, 0]
                    nx, ny, nz = (
                        turn[0, 0] * normals[a, 0] + turn[0, 1] * normals[a, 1] + turn[0, 2] * normals[a, 2],
                        turn[1, 0] * normals[a, 0] + turn[1, 1] * normals[a, 1] + turn[1, 2] * normals[a, 2],
                        turn[2, 0] * normals[a, 0] + turn[2, 1] * normals[a, 1] + turn[2, 2] * normals[a, 2],
                    )
                    # a streak of sky in the upper part of the lens, and more at a slant
                    streak = coords[a, 0] + np.float32(0.9) * coords[a, 1]
                    glint = np.float32(0.16) * np.exp(-(((streak - np.float32(0.55)) / np.float32(0.22)) ** 2))
                    pane += glint + np.float32(0.05) + np.float32(0.3) * (_1 - abs(nz)) ** 3
            pane = pane / np.float32(s * s)
            out[row, column, 0] = np.uint8(
                255 * min(_1, total0 * (_1 - pane) + pane * np.float32(0.90)) + np.float32(0.5)
            )
            out[row, column, 1] = np.uint8(
                255 * min(_1, total1 * (_1 - pane) + pane * np.float32(0.95)) + np.float32(0.5)
            )
            out[row, column, 2] = np.uint8(255 * min(_1, total2 * (_1 - pane) + pane) + np.float32(0.5))
