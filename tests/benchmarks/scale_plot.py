"""Latency and cost over the number of replicas, as a picture."""

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.ticker import NullFormatter

_DASHES = ("-", "--", ":", "-.")
"""So that curves which lie on each other are seen."""


def draw(curves, growing, real, path):
    """Draw what a simulation came to.

    Args:
        curves: Of each strategy, points `(replicas, summary)` with a load that grows with them.
        growing: Points `(replicas, summary)` of one load that does not.
        real: Points `(engines, load, real seconds, simulated seconds)`.
        path: Of the PNG.
    """
    figure, axes = plt.subplots(2, 2, figsize=(12, 9), layout="constrained")
    for number, (name, points) in enumerate(curves.items()):
        dashes = _DASHES[number % len(_DASHES)]
        replicas = [count for count, _ in points]
        for place, what in (((0, 0), "p95_seconds"), ((0, 1), "dollars_per_1000")):
            values = [told[what] for _, told in points]
            axes[place].plot(replicas, values, marker=".", label=name, linestyle=dashes)
    _label(axes[0, 0], "replicas", "95th percentile of answers [s]", "half of all slots busy")
    axes[0, 0].set_yscale("log")
    _label(axes[0, 1], "replicas", "US dollars per 1,000 answers", "half of all slots busy")
    axes[0, 1].legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    replicas = [count for count, _ in growing]
    axes[1, 0].plot(replicas, [told["p95_seconds"] for _, told in growing], marker="o")
    axes[1, 0].set_yscale("log")
    _label(axes[1, 0], "replicas", "95th percentile of answers [s]", "one load, more replicas")
    axes[1, 0].set_xticks(replicas)
    beside = axes[1, 0].twinx()
    cost = [count / told["answers_per_second"] for count, told in growing]
    beside.plot(replicas, cost, marker="s", color="tab:orange")
    beside.set_ylabel("replica-seconds per answer", color="tab:orange")
    _hold_together(axes[1, 1], real)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _hold_together(axes, real):
    most = 1.1 * max((max(found, told) for *_, found, told in real), default=1.0)
    for load, mark in (("trace", "o"), ("burst", "s")):
        points = [(found, told) for _, which, found, told in real if which == load]
        if points:
            axes.plot(*zip(*points, strict=True), mark, label=f"{load}, 1 to {len(points)} engines")
    axes.plot([0, most], [0, most], color="gray", linestyle="--")
    axes.fill_between([0, most], [0, 0.85 * most], [0, 1.15 * most], color="gray", alpha=0.15)
    _label(axes, "mean answer, real [s]", "mean answer, simulated [s]", "within 15 % is gray")
    axes.set_xscale("linear")
    axes.legend()


def _label(axes, across, up, title):
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(across)
    axes.set_ylabel(up)
    axes.set_title(title)
    axes.grid(alpha=0.3)
