"""Keras' affine warp in NumPy's float64: the oracle for the warp on the device.

Positions come from the same products and sums in the same order as in Keras and SciPy, so that even one on
the very edge of a pixel or of the image falls on SciPy's side.
"""

import numpy as np


def warp(images, params, fill_mode, cval, order):
    """Warps images ``[B, H, W, C]`` with parameters ``[B]`` in the order of ``AffineParams``."""
    theta, tx, ty, shear, zx, zy = (np.asarray(value, np.float64) for value in params)
    theta, shear = np.deg2rad(theta), np.deg2rad(shear)
    batch, height, width, _ = images.shape
    # Keras' center: its two coordinates are swapped.
    center = height / 2 - 0.5, width / 2 - 0.5
    transform = (
        _matrix([[np.cos(theta), -np.sin(theta), 0], [np.sin(theta), np.cos(theta), 0], [0, 0, 1]])
        @ _shift(tx, ty)
        @ _matrix([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
        @ _matrix([[zx, 0, 0], [0, zy, 0], [0, 0, 1]])
    )
    matrix = _shift(*center) @ transform @ _shift(-center[0], -center[1])
    (xx, xy, x_shift), (yx, yy, y_shift) = np.moveaxis(matrix, 0, -1)[:2, :, :, None, None]
    row, column = np.arange(height)[:, None], np.arange(width)[None, :]
    rows, row_weight, row_inside = _split((y_shift + row * yy) + column * yx, height, order)
    columns, column_weight, column_inside = _split((x_shift + row * xy) + column * xx, width, order)
    each = np.arange(batch)[:, None, None]
    after_rows, after_columns = np.minimum(rows + 1, height - 1), np.minimum(columns + 1, width - 1)
    row_weight, column_weight = row_weight[..., None], column_weight[..., None]
    before = (1 - row_weight) * images[each, rows, columns] + row_weight * images[each, after_rows, columns]
    after = (1 - row_weight) * images[each, rows, after_columns] + row_weight * images[
        each, after_rows, after_columns
    ]
    warped = (1 - column_weight) * before + column_weight * after
    if fill_mode == "constant":
        fill = np.asarray(cval).reshape(-1, 1, 1, 1)
        warped = np.where((row_inside & column_inside)[..., None], warped, fill)
    return warped


def _split(position, length, order):
    """The pixel before each position (order 0: the nearest), the share of the one after, whether inside."""
    inside = (position >= 0) & (position <= length - 1)
    position = np.clip(position, 0, length - 1)
    pixel = np.floor(position + 0.5 * (order == 0))
    return pixel.astype(int), np.zeros_like(position) if order == 0 else position - pixel, inside


def _shift(x, y):
    return _matrix([[1, 0, x], [0, 1, y], [0, 0, 1]])


def _matrix(entries):
    """Stacks scalars and arrays ``[B]`` into ``[B, 3, 3]``."""
    flat = np.broadcast_arrays(*(np.ravel(entry) for row in entries for entry in row))
    return np.stack(flat, axis=-1).reshape(-1, 3, 3)
