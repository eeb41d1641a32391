"""An overview of the services at their places."""

from __future__ import annotations

from llmrouter.cli.calling import dialled
from llmrouter.cli.places import Place
from llmrouter.common.overview import Overview, Reach, look

__all__ = ["look_at"]


async def look_at(*places: Place | None, choices: int) -> Overview:
    """Ask the services at all places at once; None stands for one that is not asked.

    Args:
        places: At most one of each service.
        choices: How many of the newest choices to tell.
    """
    found = {place.service: _reach(place) for place in places if place is not None}
    services: dict[str, Reach] = {
        name: found[name] for name in ("selector", "cache") if name in found
    }
    nodes = {"inference": found["inference"]} if "inference" in found else {}
    return await look(services, nodes, choices)


def _reach(place: Place) -> Reach:
    return lambda: dialled(place)
