"""A bound on what labels can say, so that whoever names things cannot fill memory or pages."""

from __future__ import annotations

from collections.abc import Mapping

from llmrouter.common.telemetry.names import BOUNDED_LABELS

__all__ = ["OTHER", "BoundedLabels"]

OTHER = "other"
_MOST = 256
"""Models, versions and addresses."""


class BoundedLabels:
    """Lets the first values of a label through, and tells all later ones as `other`.

    First come, first kept: a series that went over to `other` and back would make its sums jump.

    Args:
        most: Values by label; those not named take 256.
    """

    def __init__(self, most: Mapping[str, int]) -> None:
        self._most = most
        self._seen: dict[str, set[str]] = {name: set() for name in BOUNDED_LABELS}

    def bound(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Return the labels with the values that are told; most often the same object."""
        for name in labels:
            seen = self._seen.get(name)
            if seen is None or labels[name] in seen:
                continue
            if len(seen) >= self._most.get(name, _MOST):
                labels = {**labels, name: OTHER}
            else:
                seen.add(labels[name])
        return labels
