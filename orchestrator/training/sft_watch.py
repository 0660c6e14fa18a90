"""Looks on while a model is trained: passes metrics on, and ends what leads nowhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orchestrator.training.sft_arguments import Arguments
    from orchestrator.training.sft_events import Metrics, TrainingStopped
    from orchestrator.training.sft_model import Precision
    from orchestrator.training.sft_probe import Judged, Probe, has_drifted
else:
    from sft_events import TrainingStopped
    from sft_probe import has_drifted


def is_on_plateau(losses: Sequence[float], patience: int, delta: float) -> bool:
    """Whether the last `patience` losses are no lower, by more than `delta`, than the best before.

    Asked of the whole history, so that a training that goes on from a checkpoint decides alike.
    """
    best, waited = math.inf, 0
    for loss in losses:
        if loss < best - delta:
            best, waited = loss, 0
        else:
            waited += 1
    return waited >= patience


def refuse_non_finite(logs: dict[str, Any], step: int, precision: Precision) -> None:
    """Raise `TrainingStopped` if a loss or a gradient that was logged is NaN or infinite."""
    # With fp16 the first gradients overflow by design, until the scale of the loss is found.
    names = ("loss", "eval_loss") if precision.loss_scaled else ("loss", "eval_loss", "grad_norm")
    for name in names:
        if not math.isfinite(float(logs.get(name, 0.0))):
            raise TrainingStopped(
                f"{name} is {logs[name]} at step {step}:"
                " the training diverged; lower --learning-rate or look at the rows"
            )


def make_watcher(
    arguments: Arguments, precision: Precision, probe: Probe | None, metrics: Metrics
) -> Any:
    """A callback for the trainer; `ended_by` on it says why the training ended early, if it did."""
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]  # transformers is not type-checked
        """Passes what is logged on as events, and stops a training that leads nowhere."""

        def __init__(self) -> None:
            self.ended_by: str | None = None
            self._judged: list[Judged] = []

        def on_train_begin(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            self._probe(state, kwargs["model"])

        def on_log(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            logs = dict(kwargs.get("logs") or {})
            metrics.emit("log", step=state.global_step, **logs)
            refuse_non_finite(logs, state.global_step, precision)

        def on_evaluate(self, _args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self._probe(state, kwargs["model"])
            patience = arguments.plateau_patience
            losses = [one["eval_loss"] for one in state.log_history if "eval_loss" in one]
            if patience and is_on_plateau(losses, patience, arguments.plateau_delta):
                self.ended_by = "plateau"
                # Saved here too, so that the last checkpoint is where the training ended.
                control.should_training_stop = control.should_save = True

        def on_save(self, _args: Any, state: Any, _control: Any, **kwargs: Any) -> None:
            if not arguments.validation:  # else it was probed when the loss was taken
                self._probe(state, kwargs["model"])

        def _probe(self, state: Any, model: Any) -> None:
            if probe is None:
                return
            step, now = state.global_step, probe.run(model)
            metrics.emit("probe", step=step, rows=now.rows, unparsed=now.unparsed, exact=now.exact)
            done = step / max(1, state.max_steps)
            if has_drifted(self._judged, now, arguments.max_unparsed, done):
                raise TrainingStopped(
                    f"{now.unparsed} of {now.rows} answers to the probe do not parse as"
                    f" {arguments.answer_syntax} at step {step} ({_least(self._judged)} before, at"
                    " best): the format drifted; look whether the rows are cut off or written in"
                    " another syntax"
                )
            self._judged.append(now)

    return Watcher()


def _least(judged: Sequence[Judged]) -> int:
    return min(one.unparsed for one in judged)
