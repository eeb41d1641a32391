"""What is loaded before anything is configured, and so by every suite."""

import subprocess
import sys

ONLY_WHERE_CONFIGURED = {"redis", "jwt", "cryptography", "huggingface_hub", "fsspec", "onnxruntime"}


def test_libraries_that_only_some_settings_need_are_not_loaded_with_the_suite():
    look = "import sys, llmrouter.suite; print(*sys.modules)"
    told = subprocess.run(
        [sys.executable, "-c", look], check=True, capture_output=True, text=True, timeout=60
    )
    loaded = set(told.stdout.split())
    assert "llmrouter.suite" in loaded
    assert not loaded & ONLY_WHERE_CONFIGURED
