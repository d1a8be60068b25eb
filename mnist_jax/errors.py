"""The faults a person can cause or meet, each one clear line and an exit code."""

from collections.abc import Sequence


class MnistJaxError(Exception):
    """A fault told in one line: what was wrong, where, and what would be right."""

    exit_code = 1


class DataError(MnistJaxError):
    """A data set is missing, damaged, or not what it claims to be."""


class CheckpointError(MnistJaxError):
    """A checkpoint is missing, damaged, or does not fit the model it is restored into."""


class RunError(MnistJaxError):
    """A run cannot start or go on: its folder, its device or its numbers are at fault."""


class ConfigError(MnistJaxError):
    """The command line or the configuration is wrong; ``problems`` lists everything found, not the first."""

    exit_code = 2

    def __init__(self, problems: Sequence[str]):
        """Keeps every problem, one line each."""
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))
