"""Where a run pauses on the host: ends of epochs, checkpoints, and often enough to be stopped."""

from dataclasses import dataclass

# A signal is answered, and the progress bar moves, between two calls to the device.
_SECONDS_PER_CALL = 1.0
_FIRST_IMAGES_PER_CALL = 1024


@dataclass
class CallPlan:
    """Decides how many steps the next call to the device does. The cuts never change what is computed.

    Attributes:
        steps_per_epoch: a call never crosses the end of an epoch.
        checkpoint_every_steps: nor a multiple of this, where it is above zero.
        steps_per_call: a fixed length, or 0 to choose.
        batch_size: images a step.
        adaptive: whether a chosen length follows the measured speed (about a second a call) or is the whole
            epoch.
    """

    steps_per_epoch: int
    checkpoint_every_steps: int
    steps_per_call: int
    batch_size: int
    adaptive: bool
    _seconds_per_step: float = 0.0

    def next_length(self, step: int) -> int:
        """Gives the number of steps of the call that starts after ``step`` steps."""
        length = self.steps_per_epoch - step % self.steps_per_epoch
        if self.checkpoint_every_steps:
            length = min(length, self.checkpoint_every_steps - step % self.checkpoint_every_steps)
        if self.steps_per_call:
            return min(length, self.steps_per_call)
        return min(length, self._chosen_length()) if self.adaptive else length

    def measured(self, num_steps: int, seconds: float) -> None:
        """Tells how long a call took."""
        self._seconds_per_step = seconds / num_steps

    def _chosen_length(self) -> int:
        if self._seconds_per_step == 0.0:
            return max(1, _FIRST_IMAGES_PER_CALL // self.batch_size)
        return max(1, round(_SECONDS_PER_CALL / self._seconds_per_step))
