"""The engine against its peers, and what it costs by itself.

`make bench-peers` installs the peers; who is missing is told as skipped. Settings that all share:
2 threads, 48 sequences at most, a context of 2,048 tokens.
"""

import signal
import sys
from pathlib import Path

from rich.console import Console
from tests.benchmarks import engine_measures, engine_own, engine_peers
from tests.benchmarks.engine_workloads import read_trace
from tests.benchmarks.peers.contestants import MODEL
from tests.benchmarks.report import Report

from llmrouter.common.settings import data_directory

TARGETS = {
    "equal_over_genai": ("at_least", 1.0),
    "equal_over_openvino": ("at_least", 1.1),
    "equal_over_openvino_q4_1": ("at_least", 1.1),
    "equal_over_llamacpp": ("at_least", 1.5),
    "unequal_over_genai": ("at_least", 1.25),
    "unequal_over_openvino": ("at_least", 1.2),
    "unequal_over_openvino_q4_1": ("at_least", 1.2),
    "equal_over_bare_4bit": ("at_least", 0.95),
    **{f"trace_over_{name}": ("at_least", goal) for name, goal in engine_peers.TRACE_GOALS.items()},
    "alone_over_best": ("at_least", 0.95),
    "alone_over_bare_4bit": ("at_least", 0.95),
    "around_decoder_share_greedy": ("at_most", 0.03),
    "around_decoder_share_sampling": ("at_most", 0.06),
    "prefix_first_token_ratio": ("at_most", 0.15),
    "gap_p99_over_median_ours": ("at_most", 3.0),
    "step_cost_linear_r2": ("at_least", 0.98),
    "waiting_10000_step_ratio": ("at_most", 1.03),
}
FOLDERS = {bits: data_directory() / "models" / f"{MODEL}-int{bits}" for bits in (8, 4)}


def _measure_trace(field, options):
    if options.trace is None:
        field.skipped["trace"] = "--trace names no file"
        return engine_peers.Results()
    passes = [int(count) for count in options.trace_passes.split(",")]
    return engine_peers.measure_trace(field, read_trace(options.trace), *passes)


def _measure_bare(repeats):
    """The engine over a bare session, which runs no kernels of ours, on the 4-bit folder."""
    results = engine_peers.Results()
    for name, batch in (("equal", 16), ("alone", 1)):
        told = engine_measures.measure_against_bare_session(FOLDERS[4], batch, repeats)
        results.figures |= {
            f"{name}_over_bare_4bit": told[f"engine_{batch}_over_bare"],
            f"{name}_bare_4bit": told[f"bare_{batch}_tokens_per_second"],
            f"{name}_decoding_4bit": told[f"engine_{batch}_tokens_per_second"],
        }
    return results


MEASURES = {
    "at_once": lambda field, options: engine_peers.measure_at_once(field, options.repeats),
    "alone": lambda field, options: engine_peers.measure_alone(field, options.repeats),
    "concurrency": lambda field, options: engine_peers.measure_concurrency(field, options.repeats),
    "gaps": lambda field, options: engine_peers.measure_gaps(field, options.repeats),
    "trace": _measure_trace,
    "bare": lambda _, options: _measure_bare(options.repeats),
    "around": lambda _, options: engine_own.measure_around(FOLDERS[8], options.repeats),
    "prefix": lambda _, options: engine_own.measure_prefix(FOLDERS[8], options.repeats),
    "step_cost": lambda _, options: engine_own.measure_step_cost(FOLDERS[8], options.repeats),
    "waiting": lambda _, options: engine_own.measure_waiting(FOLDERS[8], options.repeats),
}


def add_options(parser):
    """Add the options of this benchmark to the command line."""
    parser.add_argument("--repeats", type=int, default=3, help="pairs of each comparison (3)")
    parser.add_argument("--only", default="", help="peers by name, with commas; all unless given")
    parser.add_argument(
        "--measures", default=",".join(MEASURES), help="with commas: " + ", ".join(MEASURES)
    )
    parser.add_argument("--trace", type=Path, help="azure_llm_conv.csv; without it: skipped")
    parser.add_argument(
        "--trace-passes", default="3,2", help="runs of a search: 60 requests, then all 200 (3,2)"
    )
    parser.add_argument("--plots", type=Path, default=Path("build"), help="folder for the PNGs")


def run(options):
    """Measure what the options ask for."""
    console, report = Console(stderr=True), Report("engine", targets=TARGETS)
    only = [name for name in options.only.split(",") if name]
    curves = {}
    # Being ended ends the workers too, which are no children of the terminal's.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    with engine_peers.Field(only) as field:
        for name in options.measures.split(","):
            console.print(f"measuring {name}")
            results = MEASURES[name](field, options)
            report.figures |= results.figures
            report.spreads |= results.spreads
            curves[name] = results.curves
        report.skipped = field.skipped
        report.notes = {"contestants": field.told, "curves": curves}
    _plot(curves, options.plots, report)
    return report


def _plot(curves, folder, report):
    drawn = {"concurrency": "plot_concurrency", "gaps": "plot_gaps"}
    wanted = [name for name in drawn if curves.get(name)]
    if not wanted:
        return
    try:
        from tests.benchmarks import engine_plots  # noqa: PLC0415 - only who plots needs it
    except ImportError as error:
        report.skipped["plots"] = str(error)
        return
    for name in wanted:
        getattr(engine_plots, drawn[name])(curves[name], folder / f"engine-{name}.png")
