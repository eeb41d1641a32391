"""The live page's data, as a test says it is."""

import json

from tests.support.live_frames import EXPLAINED, empty

from llmrouter.common.errors import Reason, RouterError
from llmrouter.gateway.live.feed import LiveFeed


class Page:
    """Sends `frame` over and over."""

    def __init__(self, frame=None, most=4, interval=0.01):
        self.frame = empty() if frame is None else frame
        self.gathered = 0
        self.feed = LiveFeed(self._gather, interval, most)

    async def _gather(self):
        self.gathered += 1
        return json.dumps(self.frame).encode()

    async def explain(self, plan_id):
        if plan_id != "plan-0001":
            raise RouterError(Reason.UNKNOWN_PLAN, f"no choice {plan_id} is remembered")
        return {"plan": EXPLAINED["plan"], "record": json.dumps(EXPLAINED["record"])}
