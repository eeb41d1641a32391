"""What is loaded before anything is configured, and so by every suite."""

import subprocess
import sys

ONLY_WHERE_CONFIGURED = {"redis", "jwt", "cryptography", "huggingface_hub", "fsspec", "onnxruntime"}


def told(program):
    """What another interpreter says."""
    ran = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    return ran.stdout.split()


def test_libraries_that_only_some_settings_need_are_not_loaded_with_the_suite():
    look = "import sys, llmrouter.suite; print(*sys.modules)"
    loaded = set(told(look))
    assert "llmrouter.suite" in loaded
    assert not loaded & ONLY_WHERE_CONFIGURED


def test_the_collector_of_a_program_never_looks_again_at_what_it_has_loaded():
    look = "import gc; print(gc.get_freeze_count(), len(gc.get_objects()))"
    program = f"import llmrouter.suite as s; s.configure_process(); {look}"
    frozen, seen = map(int, told(program))
    assert frozen > 50_000
    assert seen < 1_000
