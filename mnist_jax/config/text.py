"""A value of the configuration, or of a flag, as a person types it."""

import ast
from typing import Any

from absl import flags as absl_flags
from ml_collections.config_flags import tuple_parser

from mnist_jax.config.field import Field

_PARSERS = {
    bool: absl_flags.BooleanParser(),
    int: absl_flags.IntegerParser(),
    float: absl_flags.FloatParser(),
    tuple: tuple_parser.TupleParser(),
}


def parse_text(target: Field, text: str) -> object:
    """Reads a value as config_flags does for its type; a text that cannot be read is returned as it is."""
    parser: Any = _PARSERS.get(target.type)
    try:
        if target.type is dict:
            return ast.literal_eval(text)
        return parser.parse(text) if parser else text
    except Exception:
        # literal_eval alone raises five kinds of error; `Field.convert` then refuses the text in one way.
        return text
