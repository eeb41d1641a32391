"""Counters in a real server."""

from tests.support.redis_server import redis_server

__all__ = ["redis_server"]
