"""How good a routing between a weak and a strong model is, as RouteLLM measures it.

Ong et al. 2024, "RouteLLM: Learning to Route LLMs with Preference Data": the performance gap
recovered (PGR) at a share of strong calls is (quality - weak) / (strong - weak); APGR is its mean
over all shares; CPT(x) is the least share of strong calls that recovers x of the gap.
"""

from dataclasses import dataclass

import numpy as np


@dataclass
class Curve:
    """Points of the cost-quality curve, the cheapest first."""

    shares: np.ndarray
    """Share of requests sent to the strong model."""
    recovered: np.ndarray
    """Share of the quality gap closed; 0 with none sent, 1 with all sent."""

    @property
    def apgr(self):
        return float(np.trapezoid(self.recovered, self.shares))

    def cpt(self, recovered):
        """The least share of strong calls that closes so much of the gap."""
        return float(self.shares[np.argmax(self.recovered >= recovered)])


def curve(gains, weak, strong, seed=0):
    """Send to the strong model first where the predicted gain is highest.

    Equal gains are sent in an order drawn from `seed`, so that the file's own order counts for
    nothing.

    Raises:
        ValueError: The strong model is not better, so that there is no gap to close.
    """
    gap = strong.mean() - weak.mean()
    if gap <= 0:
        raise ValueError(
            f"the strong model answers {strong.mean():.1%} and the weak one {weak.mean():.1%}: "
            "there is no gap to close"
        )
    drawn = np.random.default_rng(seed).permutation(len(gains))
    order = drawn[np.argsort(-gains[drawn], kind="stable")]
    won = np.concatenate([[0.0], np.cumsum((strong - weak)[order])]) / len(gains)
    return Curve(np.linspace(0, 1, len(won)), won / gap)


def calibration_error(chances, right, bins=10):
    """Expected calibration error: |mean chance - share right| over bins of equal width."""
    places = np.minimum((chances * bins).astype(int), bins - 1)
    return float(
        sum(
            abs(chances[places == one].mean() - right[places == one].mean())
            * (places == one).mean()
            for one in np.unique(places)
        )
    )
