"""Which inference service holds which model: a plan towards the targets of utilisation.

Pure: what the services say of themselves goes in, steps come out. One trouble is dealt with at a
time, the worst first; what follows from it is seen before anything else is done.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

__all__ = ["Action", "Holding", "Key", "Node", "Place", "Step", "Targets", "plan_placement"]

Key: TypeAlias = tuple[str, str]
"""Name and version of a model."""
Place: TypeAlias = tuple[str, Key]
"""An address, and a version that lies there."""


class Action(StrEnum):
    """What is done with a version on a node."""

    LOAD = "load"
    UNLOAD = "unload"


@dataclass(frozen=True, slots=True)
class Holding:
    """A version in the store of a node."""

    name: str
    version: str
    """Its fingerprint."""
    ready: bool
    settled: bool
    """Whether it neither comes nor goes just now."""
    memory: int
    """Bytes it takes once loaded."""
    busy: float = 0.0
    """Requests here per slot."""
    pinned: bool = False
    failed: bool = False
    """Whether the node says that it could not be loaded."""
    on_demand: bool = False
    """Whether it is not ready, and a request for it waits until it was loaded here."""

    @property
    def key(self) -> Key:
        """Name and version."""
        return self.name, self.version

    @property
    def offered(self) -> bool:
        """Whether requests for it are taken here."""
        return self.ready or self.on_demand


@dataclass(frozen=True, slots=True)
class Node:
    """One inference service, and what it says of its machine."""

    address: str
    cpu: float
    """Share of its cores in use; 0 to 1."""
    memory: float
    """Share of its memory in use; 0 to 1."""
    memory_limit: int
    """Bytes; 0 where not known, and then nothing is placed there."""
    free_budget: int | None
    """Bytes that its models may take beyond what they take; None for no bound."""
    holdings: tuple[Holding, ...]
    coming: bool = False
    """Whether models are being loaded here whose version nobody has read yet."""
    returns: int = 0
    """How often it was heard of again after a silence: whoever did so may have been restarted."""

    @property
    def settled(self) -> bool:
        """Whether nothing comes or goes here."""
        return not self.coming and all(holding.settled for holding in self.holdings)

    def holding(self, key: Key) -> Holding | None:
        """Return what it knows of a version."""
        return next((one for one in self.holdings if one.key == key), None)


@dataclass(frozen=True, slots=True)
class Targets:
    """What is aimed at; shares are 0 to 1."""

    cpu: float = 0.70
    memory: float = 0.80
    high: float = 1.2
    """Above the target for processors times this, busy models get another replica."""
    low: float = 0.5
    """Below it times this, spare replicas go."""
    replicas: int = 2
    """That are left of a model at least, where there are as many."""

    @property
    def kept(self) -> int:
        """What `replicas` comes to: never is the last one unloaded."""
        return max(1, self.replicas)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do; the next one only once it has succeeded."""

    action: Action
    address: str
    name: str
    version: str
    why: str
    """One phrase for people."""

    @property
    def key(self) -> Key:
        """Name and version."""
        return self.name, self.version


def plan_placement(
    nodes: Sequence[Node],
    targets: Targets,
    *,
    avoided: Collection[Place] = (),
    lost: Mapping[Key, Collection[str]] = MappingProxyType({}),
) -> tuple[Step, ...]:
    """Return the next steps; none where all is well, nothing helps, or something is under way.

    A model moves by being loaded there and then unloaded here, where it drains: between the two
    steps both serve. A model of which there are no more than `replicas` loses none, whatever its
    node suffers.

    Args:
        nodes: All that were heard of.
        targets: What is aimed at.
        avoided: Where versions are not loaded now, as after a load that failed there.
        lost: What nobody offers any more though somebody should, and who did last.
    """
    if not all(node.settled for node in nodes):
        return ()
    nodes = [_without(node, avoided) for node in nodes]
    if steps := _bring_back(lost, nodes, targets):
        return steps
    if len(nodes) < 2:
        return ()
    by_memory = sorted(nodes, key=lambda node: (-node.memory, node.address))
    by_cpu = sorted(nodes, key=lambda node: (-node.cpu, node.address))
    for node in by_memory:
        if node.memory > targets.memory and (steps := _relieve_memory(node, nodes, targets)):
            return steps
    for node in by_cpu:
        if node.cpu > targets.cpu * targets.high and (steps := _relieve_cpu(node, nodes, targets)):
            return steps
    return _drop_spare(by_memory, targets)


def _bring_back(
    lost: Mapping[Key, Collection[str]], nodes: Sequence[Node], targets: Targets
) -> tuple[Step, ...]:
    """Load the first version that nobody offers any more; a busy node is better than none."""
    for key, held in sorted(lost.items()):
        # One that is alone is left alone: it has lost nothing to others.
        known = nodes if len({node.address for node in nodes}.union(held)) > 1 else ()
        target = _target(key, known, targets, cpu=math.inf)
        if target is not None and (there := target.holding(key)) is not None:
            why = f"nobody serves it any more; the last to do so: {', '.join(sorted(held))}"
            return (_step(Action.LOAD, target, there, why),)
    return ()


def _relieve_memory(node: Node, nodes: Sequence[Node], targets: Targets) -> tuple[Step, ...]:
    """Unload the least busy model that is spare, or can be brought elsewhere."""
    why = f"memory is {node.memory:.0%} used, aimed at {targets.memory:.0%}"
    for holding in sorted(_movable(node), key=lambda one: (one.busy, -one.memory, one.key)):
        unload = _step(Action.UNLOAD, node, holding, why)
        if len(_ready_on(holding, nodes)) > targets.kept:
            return (unload,)
        target = _target(holding.key, nodes, targets, targets.cpu)
        if target is not None:
            load = _step(Action.LOAD, target, holding, f"{node.address}: {why}")
            return (load, unload)
    return ()


def _relieve_cpu(node: Node, nodes: Sequence[Node], targets: Targets) -> tuple[Step, ...]:
    """Load the busiest model that another node can take as well."""
    why = f"{node.address}: processors are {node.cpu:.0%} used, aimed at {targets.cpu:.0%}"
    busy = [one for one in node.holdings if one.ready and one.busy > 0]
    for holding in sorted(busy, key=lambda one: (-one.busy, one.key)):
        target = _target(holding.key, nodes, targets, targets.cpu)
        if target is not None:
            return (_step(Action.LOAD, target, holding, why),)
    return ()


def _drop_spare(by_memory: Iterable[Node], targets: Targets) -> tuple[Step, ...]:
    """Unload a replica beyond those that are kept, where all of its replicas have little to do."""
    nodes = tuple(by_memory)
    for node in nodes:
        for holding in sorted(_movable(node), key=lambda one: (one.busy, one.key)):
            holders = _ready_on(holding, nodes)
            quiet = all(one.cpu < targets.cpu * targets.low for one in holders)
            # What this one does the others take over, and are not to be too busy with it.
            rest = sum(one.cpu for one in holders) / max(1, len(holders) - 1)
            if len(holders) > targets.kept and quiet and rest < targets.cpu:
                why = f"{len(holders)} replicas have little to do, {targets.replicas} are kept"
                return (_step(Action.UNLOAD, node, holding, why),)
    return ()


def _target(key: Key, nodes: Sequence[Node], targets: Targets, cpu: float) -> Node | None:
    """Return the least busy node below `cpu` with a version in its store, and the room for it."""
    fitting = [
        node
        for node in nodes
        if (there := node.holding(key)) is not None
        and not there.ready
        and node.cpu < cpu
        and there.memory <= _room(node, targets)
    ]
    return min(fitting, key=lambda node: (node.cpu, node.memory, node.address), default=None)


def _room(node: Node, targets: Targets) -> int:
    """Return the bytes that may be loaded onto a node."""
    below_target = int((targets.memory - node.memory) * node.memory_limit)
    return below_target if node.free_budget is None else min(below_target, node.free_budget)


def _without(node: Node, avoided: Collection[Place]) -> Node:
    """Return a node as if what is not to be loaded there did not lie there."""
    left = (one for one in node.holdings if one.ready or (node.address, one.key) not in avoided)
    return replace(node, holdings=tuple(left))


def _movable(node: Node) -> list[Holding]:
    return [one for one in node.holdings if one.ready and not one.pinned]


def _ready_on(holding: Holding, nodes: Iterable[Node]) -> list[Node]:
    return [node for node in nodes if (one := node.holding(holding.key)) and one.ready]


def _step(action: Action, node: Node, holding: Holding, why: str) -> Step:
    return Step(action, node.address, holding.name, holding.version, why)
