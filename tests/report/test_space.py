"""The still image of the layers in space."""

import re
import xml.etree.ElementTree as ET

import numpy as np

from mnist_jax.report.space import layers_in_space

SVG = "{http://www.w3.org/2000/svg}"


def test_every_layer_is_a_plane_with_its_name_inside_the_image_from_left_to_right():
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (28, 28, 1)).astype(np.uint8)
    layers = [("conv<0>", rng.normal(size=(26, 26, 32))), ("dense", rng.random(512)), ("zero", np.zeros(10))]
    root = ET.fromstring(layers_in_space(image, layers))
    _, _, width, height = map(float, root.attrib["viewBox"].split())
    assert [text.text for text in root.iter(f"{SVG}text")] == ["the picture", "conv<0>", "dense", "zero"]
    lefts = []
    for plane in root.iter(f"{SVG}image"):
        assert plane.attrib["href"].startswith("data:image/png;base64,")
        a, b, c, d, x, y = map(float, re.findall(r"-?[0-9.]+", plane.attrib["transform"]))
        columns, rows = float(plane.attrib["width"]), float(plane.attrib["height"])
        corners = np.array([[0, 0], [columns, 0], [0, rows], [columns, rows]]) @ [[a, b], [c, d]] + [x, y]
        assert (corners >= 0).all() and (corners <= [width, height]).all()
        lefts.append(x)
    assert len(lefts) == 4 and lefts == sorted(lefts)
