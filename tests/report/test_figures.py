"""The single figures, the numbers behind them, and how they get into a page."""

import base64
import html
import io
import re

import matplotlib
import numpy as np
import pytest
from PIL import Image

from mnist_jax.metrics.predictions import calibration_bins
from mnist_jax.report import figures, member_figures, style
from mnist_jax.report.inline import inline_svg, png_uri

RECORDS = [
    {"step": 10, "epoch": 1, "split": "train", "loss": 1.0, "accuracy": 0.7, "learning_rate": 0.1},
    {"step": 20, "epoch": 1, "split": "train", "loss": 0.5, "accuracy": 0.9, "learning_rate": 0.2},
    {"step": 20, "epoch": 1, "split": "test", "loss": 0.4, "accuracy": 0.92},
    {"step": 40, "epoch": 2, "split": "train", "loss": None, "accuracy": 1.0, "learning_rate": 0.1},
    {"step": 40, "epoch": 2, "split": "test", "loss": 0.3, "accuracy": 0.95},
]
COUNTS = np.array([[8, 2, 0], [0, 9, 1], [0, 0, 0]])
NAMES = ["zero", "one", "two"]
PROBABILITIES = np.array([[0.9, 0.1], [0.65, 0.35], [0.3, 0.7], [0.05, 0.95]])
LABELS = np.array([0, 1, 1, 0])


def lines(figure):
    return {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}


def test_a_curve_is_over_epochs_and_leaves_out_what_was_not_measured():
    drawn = lines(figures.training_curve(RECORDS, "loss"))
    np.testing.assert_allclose(drawn["train"], [[0.5, 1.0], [1.0, 0.5]])
    np.testing.assert_allclose(drawn["test"], [[1.0, 0.4], [2.0, 0.3]])


def test_accuracy_is_drawn_as_percent_wrong_and_none_wrong_is_a_gap():
    figure = figures.training_curve(RECORDS, "accuracy")
    np.testing.assert_allclose(lines(figure)["train"], [[0.5, 30], [1, 10], [2, np.nan]])
    assert figure.axes[0].get_yscale() == "log"


def test_an_unknown_field_is_refused_and_no_records_give_an_empty_figure():
    with pytest.raises(ValueError, match="'speed'; expected one of loss"):
        figures.training_curve(RECORDS, "speed")
    assert not figures.training_curve([], "loss").axes[0].lines


def test_a_run_without_a_single_mistake_can_be_drawn():
    perfect = [{"step": 5, "epoch": 1, "split": "test", "accuracy": 1.0}]
    assert "<svg" in inline_svg(figures.training_curve(perfect, "accuracy"), "perfect", "Errors")
    everything_right = np.diag([3, 4, 5])
    assert "<svg" in inline_svg(figures.confusion_matrix(everything_right, NAMES), "confusion", "")
    assert "<svg" in inline_svg(figures.per_class_accuracy(everything_right, NAMES), "per-class", "")


def test_accuracy_by_change_is_drawn_in_percent_beside_what_training_drew():
    shifts = {"right": ([-1.0, 0.0], np.array([0.5, 1.0])), "down": ([0.0, 1.0], np.array([1.0, 0.25]))}
    figure = figures.accuracy_by_change(shifts, "shift", drawn=(-0.5, 0.5))
    np.testing.assert_allclose(lines(figure)["right"], [[-1, 50], [0, 100]])
    np.testing.assert_allclose(lines(figure)["down"], [[0, 100], [1, 25]])
    (span,) = figure.axes[0].patches
    assert (span.get_x(), span.get_width()) == (-0.5, 1)
    alone = figures.accuracy_by_change({"turn": shifts["right"]}, "turn", drawn=(0.0, 0.0)).axes[0]
    assert not alone.patches and alone.get_legend() is None


def test_confusion_matrix_shades_mistakes_only():
    axes = figures.confusion_matrix(COUNTS, NAMES).axes[0]
    cells = {(patch.get_x() + 0.5, patch.get_y() + 0.5): patch.get_alpha() for patch in axes.patches}
    assert set(cells) == {(1, 0), (2, 1)}, "(column, row) of the two kinds of mistake"
    assert cells[1, 0] > cells[2, 1]
    assert sorted(text.get_text() for text in axes.texts) == ["1", "2", "8", "9"]


def test_many_classes_have_no_numbers():
    assert not figures.confusion_matrix(np.eye(62, dtype=int), [str(i) for i in range(62)]).axes[0].texts


def test_per_class_accuracy_skips_a_class_without_examples():
    axes = figures.per_class_accuracy(COUNTS, NAMES).axes[0]
    dots = [line.get_xydata()[0].tolist() for line in axes.lines if line.get_marker() == "o"]
    assert dots == [[80.0, 0.0], [90.0, 1.0]]
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES


def test_calibration_shows_filled_bins_only():
    bins = calibration_bins(PROBABILITIES, LABELS, num_bins=5)
    np.testing.assert_allclose(lines(figures.calibration(bins))["this network"], [[0.675, 0.5], [0.925, 0.5]])


ODD_NAMES = ["$\\foo$", "$x", 'a <b>"x"</b> & y', "\u4e09", "z\udce9ro", "\u05d0", "\U0001f600", "x" * 300]


def test_names_of_any_kind_are_drawn_as_they_are():
    counts = np.eye(len(ODD_NAMES), dtype=int)
    for draw in (figures.confusion_matrix, figures.per_class_accuracy):
        svg = inline_svg(draw(counts, ODD_NAMES), "odd", "Classes")
        texts = [html.unescape(text) for text in re.findall(r">([^<>]*)</text>", svg)]
        for name in [*ODD_NAMES[:4], "z\\udce9ro", *ODD_NAMES[5:7], "x" * 21 + "..."]:
            assert name in texts


def test_names_in_a_legend_are_no_formulas():
    names = ["$\\foo$", "$x", "z\udce9ro"]
    drawn = figures.lines_by_layer(range(2), np.ones((2, 3)), names, "norm")
    compared = figures.overlaid_curves(dict.fromkeys(names, RECORDS), "loss", ("test",))
    for figure in (drawn, compared):
        texts = re.findall(r">([^<>]*)</text>", inline_svg(figure, "legend", "Names"))
        assert {"$\\foo$", "$x", "z\\udce9ro"} <= set(texts)


def test_filters_have_a_row_for_each_output_and_a_column_for_each_input():
    kernel = np.arange(3 * 3 * 2 * 5, dtype=np.float32).reshape(3, 3, 2, 5)
    sheet = style.filter_sheet(kernel)
    assert sheet.shape == (19, 7)
    np.testing.assert_array_equal(sheet[8:11, 4:7], kernel[:, :, 1, 2])
    assert np.isnan(sheet[3]).all()
    assert style.filter_sheet(kernel[:, :, :1]).shape == (3, 19), "one input channel: tiles in rows"


def test_of_many_kernels_the_strongest_are_kept_each_with_its_own_strongest_inputs():
    kernel = np.random.default_rng(0).normal(size=(3, 3, 4, 5)).astype(np.float32)
    norms = np.linalg.norm(kernel.reshape(9, 4, 5), axis=0)
    outputs = np.argsort(-np.linalg.norm(norms, axis=0))[:2]
    few = style.strongest_kernels(kernel, 2)
    assert few.shape == (3, 3, 2, 2)
    for column, output in enumerate(outputs):
        inputs = np.argsort(-norms[:, output])[:2]
        np.testing.assert_array_equal(few[..., column], kernel[:, :, inputs, output])
    assert style.strongest_kernels(kernel, 5) is kernel


def test_curves_of_several_runs_have_a_line_each_over_their_own_epochs():
    with_validation = [{**record, "split": "validation"} for record in RECORDS if record["split"] == "test"]
    runs = {"A one": RECORDS, "B two": [*with_validation, *RECORDS]}
    drawn = lines(figures.overlaid_curves(runs, "loss", ("validation", "test")))
    for name in runs:
        np.testing.assert_allclose(drawn[name], [[1.0, 0.4], [2.0, 0.3]])
    assert not figures.overlaid_curves({"C": []}, "loss", ("test",)).axes[0].lines


def test_norms_of_many_layers_show_eight_of_them():
    names = [f"layer{i}" for i in range(20)]
    figure = figures.lines_by_layer(range(3), np.ones((3, 20)), names, "norm")
    shown = [line.get_label() for line in figure.axes[0].lines]
    assert len(shown) == 8 and (shown[0], shown[-1]) == ("layer0", "layer19")
    assert figure.axes[0].get_yscale() == "log"


def test_activations_take_maps_and_units():
    maps = np.random.default_rng(0).random((6, 5, 32)).astype(np.float32)
    sheet = style.activation_sheet(maps)
    assert sheet.shape == (8 * 7 - 1, 4 * 6 - 1)
    np.testing.assert_array_equal(sheet[14:20, 6:11], maps[:, :, 9])
    assert style.activation_sheet(maps[0, 0]).shape == (2, 16)
    with pytest.raises(ValueError, match=r"\(6, 5\); expected"):
        style.activation_sheet(maps[:, :, 0])


def test_all_zero_weights_and_activations_have_a_scale():
    assert style.typical_limit(np.zeros((4, 4, 8), np.float32)) == 1.0
    sheet = style.filter_sheet(np.zeros((3, 3, 1, 4), np.float32))
    assert np.isfinite(style.signed_rgba(sheet, 1.0)).all()


def test_figures_leave_matplotlib_as_it_was():
    before = dict(matplotlib.rcParams)
    inline_svg(figures.training_curve(RECORDS, "loss"), "a", "Loss")
    inline_svg(figures.confusion_matrix(COUNTS, NAMES), "b", "Confusion")
    assert dict(matplotlib.rcParams) == before


@pytest.mark.parametrize("channels", [3, 4])
def test_pictures_come_back_from_their_address_unchanged(channels):
    image = np.random.default_rng(1).integers(0, 256, (40, 30, channels), np.uint8)
    few = image // 128 * 200
    for pixels in (image, few):
        content = base64.b64decode(png_uri(pixels).removeprefix("data:image/png;base64,"))
        opened = Image.open(io.BytesIO(content)).convert("RGB" if channels == 3 else "RGBA")
        np.testing.assert_array_equal(np.asarray(opened), pixels)


def test_ink_becomes_opacity_any_other_gray_stays_and_float_counts_from_0_to_1():
    gray = np.array([[[0], [255]]], np.uint8)
    assert style.picture_rgba(gray, is_ink=True).tolist() == [[[0, 0, 0, 0], [0, 0, 0, 255]]]
    assert style.picture_rgba(gray, is_ink=False).tolist() == [[[0, 0, 0, 255], [255, 255, 255, 255]]]
    for is_ink in (True, False):
        color = style.picture_rgba(np.full((1, 1, 3), 0.5), is_ink=is_ink)
        assert color.tolist() == [[[128, 128, 128, 255]]]


def test_a_wide_picture_repeats_its_pixels():
    image = np.array([[[9, 8, 7, 255], [0, 0, 0, 0]]], np.uint8)
    content = base64.b64decode(png_uri(image, width=5).removeprefix("data:image/png;base64,"))
    shown = np.asarray(Image.open(io.BytesIO(content)).convert("RGBA"))
    np.testing.assert_array_equal(shown, image.repeat(3, axis=0).repeat(3, axis=1))


def test_svg_takes_colors_from_the_page_and_has_ids_of_its_own():
    svg = inline_svg(figures.training_curve(RECORDS, "loss"), "curve", 'Loss "<1>"')
    assert svg.startswith("<svg viewBox=") and 'aria-label="Loss &quot;&lt;1>&quot;"' in svg
    assert "var(--accent, #2a6fb4)" in svg and "font-family: inherit" in svg
    assert "<style" not in svg and "xlink:href" not in svg
    ids = re.findall(r'\bid="([^"]*)"', svg)
    assert len(ids) == len(set(ids)) and all(name.startswith("curve-") for name in ids)
    assert set(re.findall(r'href="#([^"]*)"', svg)) | set(re.findall(r"url\(#([^)]*)\)", svg)) <= set(ids)
    assert ">epoch</text>" in svg, "text stays text"
    assert svg == inline_svg(figures.training_curve(RECORDS, "loss"), "curve", 'Loss "<1>"'), (
        "the same each time"
    )


def test_losses_of_one_epoch_stand_on_an_axis_from_0():
    axes = member_figures.losses_by_epoch({"seed 0": [0.5], "seed 1": [0.25]}, {"seed 1": "C0"}).axes[0]
    assert axes.get_xlim()[0] == 0 and axes.get_ylim()[0] == 0
    assert [tick for tick in axes.get_xticks() if tick != round(tick)] == []


@pytest.mark.parametrize(
    "draw",
    [
        lambda: figures.training_curve(RECORDS, "loss"),
        lambda: figures.per_class_accuracy(COUNTS, ["a name of twenty-one c", *NAMES[1:]]),
        lambda: figures.calibration(calibration_bins(PROBABILITIES, LABELS)),
        lambda: figures.lines_by_layer([0, 1], np.ones((2, 3)), ["conv1", "a long name", "dense"], "norm"),
    ],
)
def test_labels_fit_into_a_figure_and_leave_no_room_unused(draw):
    figure = draw()
    style.fit_labels(figure)
    # As it is drawn in the end, by other measures of text than those it was laid out with.
    left, bottom, right, top = figure.get_tightbbox().extents
    width, height = figure.get_size_inches()
    assert 0 <= left < 0.25 and 0 <= bottom < 0.25
    assert width - 0.25 < right <= width and height - 0.25 < top <= height
