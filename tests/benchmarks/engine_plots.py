"""The pictures of `make bench NAME=engine`, small enough for the README."""

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

from matplotlib import pyplot as plt

__all__ = ["plot_concurrency", "plot_gaps"]

LABELS = {
    "ours": "llmrouter, 8 bits",
    "genai": "onnxruntime-genai, same folder",
    "openvino": "OpenVINO GenAI, Q8_0",
    "openvino_q4_1": "OpenVINO GenAI, Q4_1",
    "llamacpp": "llama.cpp server, Q8_0",
    "ctranslate2": "CTranslate2, int8",
}
COLOURS = dict(
    zip(LABELS, ("#d62728", "#1f77b4", "#2ca02c", "#98df8a", "#9467bd", "#8c564b"), strict=True)
)


def plot_concurrency(curves, path: Path):
    """Generated tokens per second against requests at once."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    for name, points in curves.items():
        counts, rates = zip(*points, strict=True)
        width = 2.5 if name == "ours" else 1.5
        axes.plot(counts, rates, "o-", color=COLOURS[name], label=LABELS[name], linewidth=width)
    axes.set_xscale("log", base=2)
    ticks = sorted({count for points in curves.values() for count, _ in points})
    axes.set_xticks(ticks, [str(count) for count in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("requests at once (100 prompt tokens, 64 answer tokens each)")
    axes.set_ylabel("generated tokens per second")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    _save(figure, path)


def plot_gaps(curves, path: Path):
    """Gaps between the tokens of 8 streams around the arrival of a long prompt."""
    figure, axes = plt.subplots(
        1, len(curves), figsize=(3 * len(curves) + 0.4, 3.2), sharey=True, layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for panel, (name, curve) in zip(axes[0], curves.items(), strict=True):
        seen = [(at, 1000 * gap) for at, gap in curve["gaps"] if -2 < at < 1.5 * curve["until"] + 1]
        panel.scatter(*zip(*seen, strict=True), s=3, color=COLOURS[name])
        panel.axvspan(0, curve["until"], color="#00000012")
        panel.set_yscale("log")
        panel.set_title(LABELS[name], fontsize=9)
        panel.set_xlabel("seconds since the 1,500-token prompt came", fontsize=8)
        panel.grid(alpha=0.3)
    axes[0][0].set_ylabel("milliseconds between two tokens\nof one of 8 streams")
    _save(figure, path)


def _save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)
