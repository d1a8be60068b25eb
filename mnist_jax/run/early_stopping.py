"""Early stopping: what is better on validation, and when a run has gone on without it for long enough."""

from dataclasses import dataclass


@dataclass(frozen=True)
class EarlyStopping:
    """When to stop, as the section ``early_stopping`` says. Prechelt (1998) compares such rules."""

    patience: int = 0  # epochs without an improvement after which a run ends; 0 = never
    metric: str = "accuracy"  # of the validation images: accuracy, or loss
    min_delta: float = 0.0  # what is no more than this is no improvement

    def is_better(self, value: float, than: float, by: float = 0.0) -> bool:
        """Whether a value of the metric is better than another, by more than ``by``."""
        return value < than - by if self.metric == "loss" else value > than + by

    def is_over(self, waited_epochs: int) -> bool:
        """Whether a run ends after so many epochs without an improvement."""
        return 0 < self.patience <= waited_epochs


NEVER = EarlyStopping()
