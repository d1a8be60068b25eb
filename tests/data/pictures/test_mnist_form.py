"""Every kind of picture file is read, and a character in any disguise comes back in MNIST's form."""

import gzip
import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_jax.data.pictures import mnist_form as images
from mnist_jax.data.pictures.mnist_form import fit_to_shape, load_image, to_mnist
from mnist_jax.errors import DataError

STROKES = {
    "2": [(3, 5), (6, 1), (11, 1), (13, 5), (3, 19), (14, 18)],
    "7": [(2, 1), (14, 1), (6, 19)],
    "9": [(13, 7), (8, 10), (4, 7), (5, 2), (10, 1), (13, 7), (11, 19)],
}
resampling = Image.Resampling


def draw(points, side=560, pen=50, paper=0, ink=255) -> Image.Image:
    """A pen drawing of points in a 20 x 20 box, somewhat off the center of a square sheet."""
    sheet = Image.new("L", (side, side), paper)
    scale = side / 40
    line = [((x + 6) * scale, (y + 13) * scale) for x, y in points]
    ImageDraw.Draw(sheet).line(line, fill=ink, width=pen, joint="curve")
    return sheet


@pytest.fixture(params=STROKES)
def drawing(request) -> Image.Image:
    return draw(STROKES[request.param])


@pytest.fixture
def digit(drawing) -> np.ndarray:
    """The drawing in MNIST's form, uint8 [28, 28]."""
    return to_mnist(np.asarray(drawing) / 255)[..., 0]


def saved(picture: Image.Image, file_format="PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    file.seek(0)
    return file


def difference(result: np.ndarray, expected: np.ndarray) -> float:
    assert result.shape == (28, 28, 1)
    assert result.dtype == np.uint8
    return float(np.abs(result[..., 0].astype(int) - expected).mean())


def center_of_mass(image):
    grid = np.arange(28)
    return (image.sum(1) @ grid) / image.sum(), (image.sum(0) @ grid) / image.sum()


# --- to_mnist ---


def test_box_and_center_are_those_of_mnist(digit):
    rows, columns = np.nonzero(digit > 25)
    assert max(np.ptp(rows), np.ptp(columns)) + 1 in (19, 20, 21)
    assert digit.max() == 255
    np.testing.assert_allclose(center_of_mass(digit.astype(float)), (14, 14), atol=0.55)


@pytest.mark.parametrize("negative", [False, True])
def test_mnist_form_passes_unchanged(digit, negative):
    gray = np.float32(255 - digit if negative else digit) / np.float32(255)
    np.testing.assert_array_equal(to_mnist(gray)[..., 0], digit)


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("side", [56, 140, 180])
@pytest.mark.parametrize("resample", [resampling.NEAREST, resampling.BILINEAR, resampling.LANCZOS])
def test_resized_with_margins_is_recovered(digit, negative, side, resample):
    canvas = Image.new("L", (300, 200))
    canvas.paste(Image.fromarray(digit).resize((side, side), resample), (40, 10))
    gray = np.asarray(canvas) / 255
    assert difference(to_mnist(1 - gray if negative else gray), digit) < 14


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_jpeg_is_recovered(digit, quality):
    for pixels in (digit, 255 - digit):
        assert (
            difference(to_mnist(load_image(saved(Image.fromarray(pixels), "JPEG", quality=quality))), digit)
            < 7
        )


@pytest.mark.parametrize(
    "kind", ["black ink", "white ink", "soft white", "soft black", "on white", "on black"]
)
def test_transparency_is_recovered(digit, kind):
    none, full = np.zeros_like(digit), np.full_like(digit, 255)
    hard = np.where(digit > 0, full, none)
    frame = np.pad(full[1:-1, 1:-1], 1)
    tone, alpha = {
        "black ink": (none, digit),
        "white ink": (full, digit),
        "soft white": (digit, hard),
        "soft black": (255 - digit, hard),
        "on white": (255 - digit, frame),
        "on black": (digit, frame),
    }[kind]
    picture = Image.fromarray(np.stack([tone, tone, tone, alpha], axis=-1))
    assert difference(to_mnist(load_image(saved(picture))), digit) < 1


def test_uneven_light_and_noise_are_taken_away(drawing, digit):
    rng = np.random.default_rng(0)
    ink = np.asarray(drawing) / 255
    across = np.linspace(-0.5, 0.5, ink.shape[1])
    photo = (0.75 + 0.2 * across - 0.15 * across[:, None]) * (1 - 0.7 * ink) + rng.normal(0, 0.02, ink.shape)
    photo[5:8, 5:8] = 0  # a speck of dirt
    assert difference(to_mnist(np.clip(photo, 0, 1)), digit) < 8


@pytest.mark.parametrize("name", STROKES)
def test_thin_pen_strokes_are_thickened(name):
    thin = to_mnist(np.asarray(draw(STROKES[name], pen=4)) / 255)
    thick = to_mnist(np.asarray(draw(STROKES[name], pen=56)) / 255)
    assert 0.5 < thin.mean() / thick.mean() < 1
    assert thin.max() > 200


def test_faint_ink_is_stretched(drawing, digit):
    faint = 0.5 + 0.1 * np.asarray(drawing) / 255
    assert difference(to_mnist(faint), digit) < 1


def test_other_sizes_scale_the_box(drawing):
    result = to_mnist(np.asarray(drawing) / 255, (56, 42, 1))
    assert result.shape == (56, 42, 1)
    rows, columns = np.nonzero(result[..., 0] > 25)
    assert abs(max(np.ptp(rows), np.ptp(columns)) + 1 - 30) <= 1


@pytest.mark.parametrize("tone", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.03])
@pytest.mark.parametrize("shape", [(28, 28), (200, 300), (1, 1), (3, 1)])
def test_blank_pictures_are_refused(tone, noise, shape):
    rng = np.random.default_rng(0)
    gray = tone + (rng.normal(0, noise, shape) if min(shape) > 3 else 0)
    with pytest.raises(DataError, match="blank"):
        to_mnist(np.broadcast_to(gray, shape))


@pytest.mark.parametrize("gray", [np.zeros((4, 4, 3)), np.zeros((0, 4)), np.full((4, 4), np.nan)])
def test_to_mnist_wants_a_finite_plane(gray):
    with pytest.raises(Exception, match="finite numbers|[Tt]ype-check"):
        to_mnist(gray)


@pytest.mark.skipif("MNIST_JAX_DATA_DIR" not in os.environ, reason="needs MNIST_JAX_DATA_DIR with real MNIST")
def test_every_mnist_test_digit_gives_itself():
    matches = sorted(Path(os.environ["MNIST_JAX_DATA_DIR"]).glob("t10k-images-idx3-ubyte*"))
    content = matches[0].read_bytes()
    content = gzip.decompress(content) if matches[0].suffix == ".gz" else content
    digits = np.frombuffer(content, np.uint8, offset=16).reshape(-1, 28, 28)
    changed = [i for i, digit in enumerate(digits) if (to_mnist(digit / 255)[..., 0] != digit).any()]
    assert not changed


# --- load_image ---


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "GIF", "PPM"])
def test_gray_formats_are_exact(digit, file_format, tmp_path):
    path = tmp_path / f"digit.{file_format.lower()}"
    Image.fromarray(digit).save(path)
    gray = load_image(path)
    assert gray.dtype == np.float32
    np.testing.assert_array_equal(gray, digit.astype(np.float32) / 255)


@pytest.mark.parametrize("mode", ["RGB", "P", "LA", "RGBA"])
def test_modes_are_exact(digit, mode):
    np.testing.assert_allclose(
        load_image(saved(Image.fromarray(digit).convert(mode))), digit / 255, atol=1e-6
    )


def test_webp_cmyk_and_bilevel_are_read(digit):
    assert np.abs(load_image(saved(Image.fromarray(digit), "WEBP", lossless=True)) - digit / 255).max() < 0.01
    cmyk = load_image(saved(Image.fromarray(digit).convert("CMYK"), "TIFF"))
    assert np.abs(cmyk - digit / 255).max() < 0.01
    bilevel = load_image(saved(Image.fromarray(digit > 127), "PNG"))
    np.testing.assert_array_equal(bilevel, digit > 127)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_depth(digit, file_format):
    deep = digit.astype(np.uint16) * 257 // 2
    np.testing.assert_allclose(load_image(saved(Image.fromarray(deep), file_format)), deep / 65535, atol=1e-6)


@pytest.mark.parametrize("scale", [1.0, 255.0])
def test_floating_point_tiff(digit, scale):
    picture = Image.fromarray((digit / 255 * scale).astype(np.float32))
    np.testing.assert_allclose(load_image(saved(picture, "TIFF")), digit / 255, atol=1e-6)
    broken = Image.fromarray(np.full((4, 4), np.nan, np.float32))
    with pytest.raises(DataError, match="not finite"):
        load_image(saved(broken, "TIFF"))


def test_exif_rotation_is_applied(digit):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise
    file = saved(Image.fromarray(np.rot90(digit)), "PNG", exif=exif)
    np.testing.assert_array_equal(load_image(file), np.float32(digit) / 255)


def test_first_frame_of_an_animation(digit):
    frames = [Image.fromarray(np.roll(digit, shift, axis=0)) for shift in (0, 9)]
    file = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(load_image(file), digit / 255, atol=1e-6)


def test_color_is_kept_on_request():
    red = Image.new("RGB", (3, 2), (255, 0, 0))
    np.testing.assert_array_equal(load_image(saved(red), channels=3)[0, 0], [1, 0, 0])
    np.testing.assert_allclose(load_image(saved(red)), 0.299, atol=0.002)
    assert load_image(saved(Image.new("L", (3, 2))), channels=3).shape == (2, 3, 3)
    assert load_image(saved(Image.new("I;16", (3, 2))), channels=3).shape == (2, 3, 3)
    with pytest.raises(ValueError, match="channels must be 1 or 3, got 2"):
        load_image(saved(red), channels=2)


@pytest.mark.parametrize("mode", ["L", "I;16"])
def test_large_pictures_are_reduced(mode):
    for shape in ((3000, 5000), (1, 5000)):
        picture = Image.fromarray(np.full(shape, 77, np.uint8 if mode == "L" else np.uint16))
        gray = load_image(saved(picture))
        assert max(gray.shape) <= images.MAX_SIDE
        np.testing.assert_allclose(gray, 77 / (255 if mode == "L" else 65535), atol=1e-6)


def png_of_size(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty, or not a picture"),
        (b"hello" * 100, "empty, or not a picture"),
        (png_of_size(9000, 9000), "9000 x 9000 pixels, more than the 64,000,000 accepted"),
        (png_of_size(60000, 60000), "larger than the 64,000,000 pixels accepted"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(content, message, tmp_path):
    path = tmp_path / "file.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"file.png: .*{message}") as caught:
        load_image(path)
    assert "\n" not in str(caught.value)


def test_missing_files_and_folders_are_refused(tmp_path):
    with pytest.raises(DataError, match="none.png: cannot be read .No such file"):
        load_image(tmp_path / "none.png")
    with pytest.raises(DataError, match="cannot be read .Is a directory"):
        load_image(tmp_path)


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP"])
def test_damaged_files_are_read_or_refused(digit, file_format):
    content = saved(Image.fromarray(digit).convert("RGB"), file_format).getvalue()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60):
        damaged = bytearray(content[: rng.integers(1, len(content))])
        for position in rng.integers(0, len(damaged), 3):
            damaged[position] = rng.integers(0, 256)
        try:
            gray = load_image(io.BytesIO(bytes(damaged)))
        except DataError:
            refused += 1
        else:
            assert np.isfinite(gray).all()
    assert refused


# --- fit_to_shape ---


def test_fit_to_shape_resizes_and_changes_channels(digit):
    gray = digit / 255
    np.testing.assert_array_equal(fit_to_shape(gray, (28, 28, 1))[..., 0], digit)
    color = fit_to_shape(gray, (14, 14, 3))
    assert color.dtype == np.uint8
    np.testing.assert_array_equal(color[..., 0], color[..., 2])
    np.testing.assert_allclose(color[..., 0], digit.reshape(14, 2, 14, 2).mean((1, 3)), atol=0.51)
    back = fit_to_shape(color / 255, (14, 14, 1))
    np.testing.assert_allclose(back, color[..., :1], atol=1)
    with pytest.raises(ValueError, match="1 or 3 channels are needed"):
        fit_to_shape(np.zeros((4, 4, 2)), (28, 28, 1))
