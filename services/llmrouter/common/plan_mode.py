"""How the candidates of a plan are used."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["PlanMode"]


class PlanMode(StrEnum):
    """What is done with the candidates of a plan."""

    FIRST_OF = "first-of"
    """In order, until one answers."""
    CASCADE = "cascade"
    """In order, until one is sure of its answer; the last one need not be."""
    ENSEMBLE = "ensemble"
    """All at once; the best answer is given."""
