"""How many training steps a call to the device does."""

from dataclasses import dataclass

# Long enough to hide the host's own work between two calls, short enough for a signal to be answered.
_SECONDS_PER_CALL = 1.0
_FIRST_IMAGES_PER_CALL = 1024


@dataclass
class StepsPerCall:
    """Decides how many steps the next call to the device does. The cuts never change what is computed."""

    steps_per_epoch: int  # a call never crosses the end of an epoch
    batch_size: int  # images a step
    checkpoint_every_steps: int = 0  # nor does a call cross a multiple of this, where it is above zero
    steps_per_call: int = 0  # a fixed length, or 0 to choose
    # Whether a chosen length follows the measured speed (about a second a call) or is the rest of the epoch.
    adaptive: bool = False
    _seconds_per_step: float = 0.0

    def next(self, step: int) -> int:
        """Returns the number of steps of the call that starts after ``step`` steps."""
        length = self.steps_per_epoch - step % self.steps_per_epoch
        if self.checkpoint_every_steps:
            length = min(length, self.checkpoint_every_steps - step % self.checkpoint_every_steps)
        if self.steps_per_call:
            return min(length, self.steps_per_call)
        return min(length, self._chosen_length()) if self.adaptive else length

    def measured(self, num_steps: int, seconds: float) -> None:
        """Takes note of how long a call took."""
        self._seconds_per_step = seconds / num_steps

    def _chosen_length(self) -> int:
        if self._seconds_per_step == 0.0:
            return max(1, _FIRST_IMAGES_PER_CALL // self.batch_size)
        return max(1, round(_SECONDS_PER_CALL / self._seconds_per_step))
