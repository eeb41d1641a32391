"""What a benchmark returns, and the JSON it is written as."""

import json
import os
import platform
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Report:
    """Figures by name, and for some of them a target: (`at_least` | `at_most`, number)."""

    benchmark: str
    figures: dict[str, float] = field(default_factory=dict)
    targets: dict[str, tuple[str, float]] = field(default_factory=dict)
    spreads: dict[str, tuple[float, float]] = field(default_factory=dict)
    """The lowest and highest of the values that a figure is the median of."""
    skipped: dict[str, str] = field(default_factory=dict)
    """What was not measured, and why."""
    notes: dict[str, object] = field(default_factory=dict)
    """Whatever else a reader of the JSON wants: settings, points of curves."""

    def missed(self):
        """Names of figures beyond their targets."""
        return [
            name
            for name, (kind, bound) in self.targets.items()
            if name in self.figures
            and not (
                self.figures[name] >= bound if kind == "at_least" else self.figures[name] <= bound
            )
        ]

    def write(self, path: Path):
        machine = {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "system": platform.platform(),
            "python": platform.python_version(),
        }
        body = {
            "benchmark": self.benchmark,
            "machine": machine,
            "figures": self.figures,
            "targets": {name: {kind: bound} for name, (kind, bound) in self.targets.items()},
        }
        more = {"spreads": self.spreads, "skipped": self.skipped, **self.notes}
        body |= {name: value for name, value in more.items() if value}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(body, indent=2) + "\n")
