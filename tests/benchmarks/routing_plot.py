"""The cost-quality curve as a picture."""

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt


def draw(curves, path):
    """Draw the curve of each seed, their mean, and what drawing at random would give."""
    shares = np.linspace(0, 1, 201)
    each = np.array([np.interp(shares, one.shares, one.recovered) for one in curves])
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for one in each:
        axes.plot(100 * shares, 100 * one, color="tab:blue", alpha=0.25, linewidth=1)
    apgr = np.mean([one.apgr for one in curves])
    axes.plot(
        100 * shares, 100 * each.mean(axis=0), color="tab:blue", label=f"learned: APGR {apgr:.3f}"
    )
    axes.plot([0, 100], [0, 100], color="gray", linestyle="--", label="at random: APGR 0.500")
    for recovered in (0.5, 0.8):
        share = np.mean([one.cpt(recovered) for one in curves])
        axes.plot([100 * share], [100 * recovered], "o", color="tab:orange")
        axes.annotate(
            f"CPT({recovered:.0%}) = {share:.1%}",
            (100 * share, 100 * recovered),
            xytext=(12, -8),
            textcoords="offset points",
        )
    axes.set_xlabel("requests sent to the strong model [%]")
    axes.set_ylabel("quality gap closed [%]")
    axes.set_xlim(0, 100)
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
