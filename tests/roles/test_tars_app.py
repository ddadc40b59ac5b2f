"""What an App at a Tars adapter tells of its answers."""

from __future__ import annotations

from skerry.http.application import Application
from skerry.http.routes import Found, Missing
from skerry.roles.tars_app import Tally


def test_a_tally_tells_each_answer_of_the_lane_once() -> None:
    """Those that were told one by one are not in it; routes off the lane are never; misses have no route."""
    app = Application()

    @app.get("/lane/{key}")
    def on_lane(key: str) -> str:
        return key

    @app.get("/task")
    async def off_lane() -> str:
        return ""

    app.compile()
    routes = {each.path: each for each in app.table.routes}
    lane, misses = routes["/lane/{key}"], dict[int, int]()
    tally = Tally(routes.values(), misses)
    lane.counts.update({200: 5, 404: 1})
    routes["/task"].counts[200] = 9
    misses[404] = 2
    tally.note_told(Found(lane), 200)
    tally.note_told(Missing(), 404)
    assert set(tally.take()) == {("GET /lane/{key}", 200, 4), ("GET /lane/{key}", 404, 1), ("/", 404, 1)}
    assert tally.failed == 3
    assert list(tally.take()) == []
    lane.counts[200] += 1
    assert list(tally.take()) == [("GET /lane/{key}", 200, 1)]
