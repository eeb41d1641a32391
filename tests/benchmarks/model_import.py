"""What importing the demo model's GGUF takes: time, and memory of the process that does it."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from llmrouter.inference.importers.run import catalog_checkpoint
from llmrouter.inference.models.store import ModelStore


def measure_import(name):
    """The checkpoint of a model of the catalog, imported at every precision and measured.

    Fetching it is not counted. The memory is the highest that was resident: pages of files that
    are mapped count in it.
    """
    with tempfile.TemporaryDirectory() as folder:
        store = ModelStore(Path(folder))
        with catalog_checkpoint(name, store) as checkpoint:
            began = time.monotonic()
            command = [sys.executable, "-m", "llmrouter.cli", "models", "import", str(checkpoint)]
            options = ["--name", "imported", "--store", folder, "--json"]
            process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.monotonic() - began
        if status:
            raise SystemExit("the import failed")
        return {
            "import_seconds": seconds,
            "import_peak_bytes": usage.ru_maxrss * 1024.0,
        } | {
            f"import_perplexity_over_unquantised_{one}": _loss(store, f"imported-{one}")
            for one in ("int8", "int4")
        }


def _loss(store, name):
    quality = store.model(name).card.quality
    return quality.perplexity / quality.reference_perplexity
