"""The path a pen may have taken over a digit of 28x28 pixels: thinned to one pixel, then walked along."""

import numpy as np

_ENLARGED = 4
# Clockwise from the pixel above, as Zhang and Suen number them.
_AROUND = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))


def strokes_of(image):
    """uint8 [28, 28] -> polylines, each [points, 2] of (x, y) in [0, 1]."""
    ink = _enlarge(image.astype(float) / 255)
    thin = _thin(ink > 0.4)
    walks = _walk({(int(r), int(c)) for r, c in np.argwhere(thin)})
    lines = [_smooth(np.array(walk, float)) for walk in walks]
    return [(line[:, ::-1] + 0.5) / ink.shape[0] for line in lines]


def _enlarge(image):
    side = image.shape[0]
    at = (np.arange(side * _ENLARGED) + 0.5) / _ENLARGED - 0.5
    for _ in range(2):
        image = np.stack([np.interp(at, np.arange(side), column) for column in image.T])
    return image


def _thin(strokes):
    """Zhang & Suen, A fast parallel algorithm for thinning digital patterns, 1984."""
    strokes = np.pad(strokes, 1)
    while True:
        before = strokes.copy()
        for first in (True, False):
            around = [np.roll(strokes, (-dr, -dc), (0, 1)) for dr, dc in _AROUND]
            rises = sum((~a & b).astype(int) for a, b in zip(around, around[1:] + around[:1], strict=True))
            count = sum(a.astype(int) for a in around)
            up, right, down, left = around[0], around[2], around[4], around[6]
            sides = (~(up & right & down), ~(right & down & left))
            others = (~(up & right & left), ~(up & down & left))
            free = (sides if first else others)[0] & (sides if first else others)[1]
            strokes = strokes & ~((count >= 2) & (count <= 6) & (rises == 1) & free)
        if (strokes == before).all():
            return strokes[1:-1, 1:-1]


def _walk(pixels):
    """Walks over all pixels, straight on where it can, from loose ends first."""
    left, walks = set(pixels), []
    while left:
        start = min(left, key=lambda pixel: (len(_neighbors(pixel, left)), pixel))
        walk = [start]
        left.discard(start)
        # A walk that sets out from a pixel walked before is joined to it.
        joints = _neighbors(start, pixels - left - {start})
        if walks and joints:
            walk.insert(0, min(joints))
        while ways := _neighbors(walk[-1], left):
            back = walk[max(0, len(walk) - 5)]
            heading = np.subtract(walk[-1], back)
            step = max(ways, key=lambda way: (_cosine(np.subtract(way, walk[-1]), heading), way))
            walk.append(step)
            left.discard(step)
        ends = [pixel for pixel in _neighbors(walk[-1], pixels) if pixel not in walk[-4:]]
        walk += ends[:1]
        if len(walk) > _ENLARGED or not walks:
            walks.append(walk)
    return walks


def _neighbors(pixel, among):
    return [near for dr, dc in _AROUND if (near := (pixel[0] + dr, pixel[1] + dc)) in among]


def _cosine(a, b):
    length = np.hypot(*a) * np.hypot(*b)
    return float(a @ b / length) if length else 0.0


def _smooth(line):
    if len(line) > 4:
        inner = (line[:-2] + line[1:-1] + line[2:]) / 3
        line = np.concatenate([line[:1], inner, line[-1:]])
    return line[[*range(0, len(line) - 1, _ENLARGED // 2), len(line) - 1]]
