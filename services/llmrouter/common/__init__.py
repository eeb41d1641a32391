"""What every service shares: domain types, errors, wire conversion, server bootstrap, settings."""

from __future__ import annotations

import sys

from llmrouter.common.settings import insist_on_tls_13

__all__ = ["MIN_TLS_IS_SET"]

# Here, where every module of the services passes: gRPC takes it from the environment, once.
MIN_TLS_IS_SET = insist_on_tls_13(loaded="grpc" in sys.modules)
"""Whether gRPC, in this process, refuses TLS below 1.3."""
