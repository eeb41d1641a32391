"""Reference simulators of cache policies over keys of one size, and the optimum they are held to.

Written from the papers, for comparing and nothing else: S3-FIFO (Yang et al., SOSP 2023), W-TinyLFU
(Einziger, Friedman and Manes, ACM TOS 2017), LRU, and Belady's MIN with bypass.
"""

import heapq
from collections import Counter, OrderedDict, deque

import numpy as np

REQUESTS = 100_000
PROMPTS = 10_000
ROOM = 2_000


def zipf_trace(requests=REQUESTS, prompts=PROMPTS, exponent=1.0, seed=6):
    """Return so many ranks drawn with a probability proportional to rank ** -exponent."""
    weights = np.arange(1, prompts + 1, dtype=float) ** -exponent
    drawn = np.random.default_rng(seed).choice(prompts, size=requests, p=weights / weights.sum())
    return drawn.tolist()


def hit_rate(policy, trace):
    """Return the share of a trace that a policy, which `request`s each key, already holds."""
    return sum(policy.request(key) for key in trace) / len(trace)


def belady_rate(trace, room):
    """Return the best rate possible: keep what is asked for soonest, and admit nothing worse."""
    following, upcoming = [0] * len(trace), {}
    for place in range(len(trace) - 1, -1, -1):
        following[place] = upcoming.get(trace[place], len(trace) + place)
        upcoming[trace[place]] = place
    held, latest, hits = {}, [], 0
    for place, key in enumerate(trace):
        hits += key in held
        held[key] = following[place]
        heapq.heappush(latest, (-following[place], key))
        while len(held) > room:
            due, gone = heapq.heappop(latest)
            if held.get(gone) == -due:
                del held[gone]
    return hits / len(trace)


class Lru:
    def __init__(self, room):
        self.room, self.held = room, OrderedDict()

    def request(self, key):
        hit = key in self.held
        self.held[key] = None
        self.held.move_to_end(key)
        if len(self.held) > self.room:
            self.held.popitem(last=False)
        return hit


class S3Fifo:
    """A small queue for newcomers, a main one for what was asked for again, and ghosts."""

    def __init__(self, room, small=0.1):
        self.small_room = max(1, int(room * small))
        self.main_room = room - self.small_room
        self.small, self.main, self.ghosts = deque(), deque(), OrderedDict()
        self.uses = {}

    def request(self, key):
        if key in self.uses:
            self.uses[key] = min(3, self.uses[key] + 1)
            return True
        while len(self.uses) >= self.small_room + self.main_room:
            self._evict()
        self.uses[key] = 0
        (self.main if self.ghosts.pop(key, False) else self.small).append(key)
        return False

    def _evict(self):
        if len(self.small) >= self.small_room or not self.main:
            self._leave_small()
        else:
            self._leave_main()

    def _leave_small(self):
        key = self.small.popleft()
        if self.uses[key] > 0:
            self.uses[key] = 0
            self.main.append(key)
            if len(self.main) > self.main_room:
                self._leave_main()
            return
        del self.uses[key]
        self.ghosts[key] = True
        if len(self.ghosts) > self.main_room:
            self.ghosts.popitem(last=False)

    def _leave_main(self):
        while self.main:
            key = self.main.popleft()
            if self.uses[key] == 0:
                del self.uses[key]
                return
            self.uses[key] -= 1
            self.main.append(key)


class WTinyLfu:
    """A window of newcomers before a segmented LRU; the rarer of two candidates stays out.

    Frequencies are counted exactly, up to 15, and halved every 10 x room requests.
    """

    def __init__(self, room, window=0.01):
        self.window_room = max(1, int(room * window))
        self.main_room = room - self.window_room
        self.protected_room = int(self.main_room * 0.8)
        self.window, self.probation, self.protected = OrderedDict(), OrderedDict(), OrderedDict()
        self.counts, self.seen, self.sample = Counter(), 0, 10 * room

    def request(self, key):
        self._count(key)
        if key in self.window:
            self.window.move_to_end(key)
            return True
        if key in self.protected:
            self.protected.move_to_end(key)
            return True
        if key in self.probation:
            del self.probation[key]
            self.protected[key] = None
            if len(self.protected) > self.protected_room:
                self.probation[self.protected.popitem(last=False)[0]] = None
            return True
        self.window[key] = None
        if len(self.window) > self.window_room:
            self._admit(self.window.popitem(last=False)[0])
        return False

    def _admit(self, candidate):
        if len(self.probation) + len(self.protected) < self.main_room:
            self.probation[candidate] = None
            return
        segment = self.probation or self.protected
        victim = next(iter(segment))
        if self.counts[candidate] > self.counts[victim]:
            del segment[victim]
            self.probation[candidate] = None

    def _count(self, key):
        self.counts[key] = min(15, self.counts[key] + 1)
        self.seen += 1
        if self.seen >= self.sample:
            self.seen //= 2
            self.counts = Counter({key: n // 2 for key, n in self.counts.items() if n > 1})
