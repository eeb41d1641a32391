"""One worker per contestant: `python -m tests.benchmarks.peers.<name> SETTINGS`.

Workers run as processes of their own, in the environment of what they run, and know nothing of
llmrouter (but `ours`). They talk as `protocol.py` says.
"""
