"""Work beside the requests ends where it is closed, and not before."""

import asyncio

import pytest

from llmrouter.common.background import BackgroundTask


class Work:
    def __init__(self):
        self.steps = []

    async def run(self):
        self.steps.append("begun")
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            self.steps.append("tidied up")


async def test_a_closed_task_has_tidied_up():
    work, task = Work(), BackgroundTask("tested")
    task.start(work.run())
    await asyncio.sleep(0)
    await task.close()
    assert work.steps == ["begun", "tidied up"]
    await task.close()


async def test_a_task_that_never_began_is_closed_at_once():
    await BackgroundTask("tested").close()


async def test_a_task_that_runs_is_not_begun_a_second_time():
    work, task = Work(), BackgroundTask("tested")
    task.start(work.run())
    with pytest.raises(RuntimeError, match="'tested' has begun already"):
        task.start(work.run())
    await task.close()
    task.start(work.run())
    await task.close()


async def test_work_that_failed_fails_nobody_who_closes_it():
    async def fail():
        raise ValueError("it broke")

    task = BackgroundTask("tested")
    task.start(fail())
    await asyncio.sleep(0)
    await task.close()
