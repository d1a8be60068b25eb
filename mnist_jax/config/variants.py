"""Settings in which the members of an ensemble differ, as the field ``ensemble.variants`` has them."""

# What members may differ in: the data, and how they are prepared and measured, are the same for all.
VARIED_GROUPS = ("augment", "model", "optim")

_SETTING = rf"({'|'.join(VARIED_GROUPS)})\.\w+=[^\s;]+"
_VARIANT = rf"(\s*{_SETTING}(\s+{_SETTING})*)?\s*"
VARIANTS_PATTERN = rf"{_VARIANT}(;{_VARIANT})*"
VARIANTS_MEANS = (
    f"settings of {', '.join(VARIED_GROUPS)}, spaces between those of a member, semicolons between members, "
    "such as augment.cutout_fraction=0.25;augment.elastic_alpha=20 optim.learning_rate=0.01, or nothing"
)


def parse_variants(text: str) -> tuple[str, ...]:
    """Reads ``a=1;b=2 c=3`` as ``("a=1", "b=2 c=3")``; an empty one leaves a member as it is."""
    return tuple(" ".join(variant.split()) for variant in text.split(";"))


def parse_settings(variant: str) -> dict[str, str]:
    """Reads ``optim.b1=0.8 optim.name=sgd`` as texts by field."""
    pairs = (setting.partition("=") for setting in variant.split())
    return {name: text for name, _, text in pairs}
