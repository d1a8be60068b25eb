"""Every kind of picture file is read, and what is none is refused by name."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mnist_jax.data.pictures import decode
from mnist_jax.data.pictures.decode import background_of, find_white, load_image, read_facts
from mnist_jax.errors import DataError
from tests.data.pictures.conftest import saved


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


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
@pytest.mark.parametrize("max_side", [40, 2048])
def test_a_picture_is_the_same_with_and_without_its_steps_and_in_color(mode, max_side):
    tones = np.random.default_rng(0).integers(0, 256, (63, 100), np.uint8)
    picture = saved(Image.fromarray(tones).convert(mode))
    gray = load_image(picture, max_side=max_side)
    np.testing.assert_array_equal(load_image(picture, max_side=max_side, steps=[]), gray)
    color = load_image(picture, 3, max_side=max_side)
    np.testing.assert_array_equal(color, np.repeat(gray[..., None], 3, axis=2))


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
        assert max(gray.shape) <= decode.MAX_SIDE
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


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 16])
def test_ink_of_few_bits_is_told_by_its_contrast(digit, bits):
    deep = (digit.astype(np.uint32) * (2**bits - 1) // 255).astype(np.uint16)
    stretched = load_image(saved(Image.fromarray(deep)), stretch=True)
    np.testing.assert_allclose(stretched, digit / 255, atol=1 / 255)
    offset = load_image(saved(Image.fromarray(deep // 64 + 30_000)), stretch=True)
    assert (offset.min(), offset.max()) == (0, 1)
    white = find_white(float(deep.max()))
    assert white == min(full for full in (255, 1023, 4095, 65535) if full >= 2**bits - 1)
    if bits != 9:
        by_white = load_image(saved(Image.fromarray(deep)), white=white)
        np.testing.assert_allclose(by_white, digit / 255, atol=1 / 255)


def test_a_mask_of_0_and_1_is_black_and_white(digit):
    mask = (digit > 127).astype(np.uint8)
    np.testing.assert_array_equal(load_image(saved(Image.fromarray(mask)), stretch=True), mask)
    np.testing.assert_array_equal(load_image(saved(Image.fromarray(mask)), is_mask=True), mask)
    assert load_image(saved(Image.fromarray(mask))).max() < 0.01


def test_transparency_is_laid_on_the_tone_asked_for(digit):
    ink = np.zeros_like(digit)
    picture = saved(Image.fromarray(np.stack([ink, ink, ink, digit], axis=-1)))
    np.testing.assert_allclose(load_image(picture, background=1.0), 1 - digit / 255, atol=1e-6)
    assert load_image(picture, 3, background=0.0).max() == 0
    assert background_of(picture) == 1
    white_ink = saved(Image.fromarray(np.stack([255 - ink] * 3 + [digit], axis=-1)))
    assert background_of(white_ink) == 0


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_the_size_is_told_as_the_picture_is_shown(file_format, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    facts = read_facts(saved(Image.new("L", (30, 20)), file_format, exif=exif))
    assert facts[:2] == ((30, 20) if orientation == 6 else (20, 30))
    assert not facts.is_deep and not facts.has_transparency


def test_a_large_jpeg_is_read_small(drawing):
    photo = saved(drawing.resize((3200, 2400)).convert("RGB"), "JPEG")
    small = load_image(photo, max_side=256)
    assert 128 <= max(small.shape) <= 256
    assert read_facts(photo)[:2] == (2400, 3200)


# --- Files that are made to harm ---

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n{} loop\n%%EOF\n"


@pytest.mark.parametrize("name", ["loop.eps", "loop.png"])
def test_postscript_is_never_run_whatever_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(EPS)
    with pytest.raises(DataError, match="not a picture in a format that is read here"):
        load_image(tmp_path / name)


@pytest.mark.parametrize("file_format", ["ICO", "ICNS", "PCX", "SGI", "SPIDER"])
def test_formats_that_nobody_keeps_pictures_in_are_refused(file_format):
    picture = Image.new("F" if file_format == "SPIDER" else "RGB", (128, 128))
    with pytest.raises(DataError, match="not a picture in a format that is read here"):
        load_image(saved(picture, file_format))


@pytest.mark.parametrize("sides", [(30_000, 30_000), (2**31 - 16, 16)])
def test_a_tiff_is_not_larger_inside_than_it_says(sides):
    tags = {256: 16, 257: 16, 258: 8, 259: 8, 262: 1, 277: 1, 322: sides[0], 323: sides[1], 324: 8, 325: 4}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    content = (
        b"II*\0" + struct.pack("<I", 12) + b"\0\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    )
    with pytest.raises(DataError, match=f"{sides[0]} x {sides[1]} pixels, more than"):
        load_image(io.BytesIO(content))
