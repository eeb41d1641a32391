"""GPTCache by itself: `similar_lookups.py VECTORS.npy LOOKUPS`, in the peers' own environment.

SQLite and Faiss, as its documentation begins with; vectors are given, so that no model is timed.
Prints the look-ups a second and how many of them were answered.
"""

import os
import sys
import tempfile
import time

import numpy as np
from gptcache import Cache
from gptcache.adapter.api import get, put
from gptcache.manager import CacheBase, VectorBase, get_data_manager
from gptcache.similarity_evaluation.distance import SearchDistanceEvaluation


def main(path, lookups):
    vectors = np.load(path)
    table = {f"question {number}": vector for number, vector in enumerate(vectors)}
    os.chdir(tempfile.mkdtemp())
    store = get_data_manager(CacheBase("sqlite"), VectorBase("faiss", dimension=vectors.shape[1]))
    cache = Cache()
    cache.init(
        pre_embedding_func=lambda data, **_: data["prompt"],
        embedding_func=lambda prompt, **_: table[prompt],
        data_manager=store,
        similarity_evaluation=SearchDistanceEvaluation(),
    )
    for question in table:
        put(question, "Paris", cache_obj=cache)
    began, answered = time.perf_counter(), 0
    for number in range(lookups):
        question = f"question {number * 7919 % len(table)}"
        answered += get(question, cache_obj=cache) is not None
    sys.stdout.write(f"{lookups / (time.perf_counter() - began)} {answered}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
