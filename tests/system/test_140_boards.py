"""Leaderboards: what HTTP says of a board is what the database says and what a list kept here says, from Redis or without it,
and whatever becomes of Redis and of the workers."""

import json
import random
import sqlite3
import threading
import time
from urllib.parse import quote

import pytest

from conftest import PATIENT, assert_problem, data_file, stacks, wait_for

BOARDS = ["--set", "board.game.mode=best", "--set", "board.total.mode=sum", "--set", "board.level.mode=last",
          "--set", "board.days.period=daily", "--set", "board.league.period=season",
          "--set", "board.league.seasons=2020-01-01 2021-01-01 2999-01-01"]


@pytest.fixture(scope="module", params=["redis", "memory"])
def boards(request):
    """A stack with boards, over each kind of shared cache, for the tests of this module to change."""
    makers = stacks()
    stack = next(makers)("--l2", request.param, *BOARDS, *PATIENT)
    stack.l2 = request.param
    yield stack
    next(makers, None)


@pytest.fixture
def redis_boards(make_stack):
    stack = make_stack(*BOARDS, *PATIENT)
    stack.l2 = "redis"
    return stack


def submit(stack, board, scores, mode=None, **options):
    body = {"scores": [{"member": member, "score": score} for member, score in scores]} if isinstance(scores, list) else scores
    return stack.request("POST", f"/api/leaderboards/{board}/scores", admin=True, json={**body, **({"mode": mode} if mode else {})}, **options)


def ask(stack, path):
    return stack.get(f"/api/leaderboards/{path}")


def database(stack):
    return sqlite3.connect(stack.database, timeout=10, isolation_level=None)


def standing(stack, board):
    """The board as the database has it: (member, score), the first one first."""
    db = database(stack)
    try:
        return db.execute("SELECT member, score FROM larder_scores WHERE board = ? ORDER BY score DESC, reached", (board,)).fetchall()
    finally:
        db.close()


def source(answer):
    return answer.headers["Cache-Status"].rsplit("detail=", 1)[1]


def wait_for_l2(stack, board, seconds=20):
    """Where there is a Redis: until it answers for the board."""
    if stack.l2 == "redis":
        wait_for("Redis answers for the board", lambda: source(ask(stack, f"{board}/top")) == "L2", seconds)


def assert_agrees(stack, board, expected=None, ranks=True):
    """That HTTP says of the board what EXPECTED, or the database, says: as a whole, and of each member."""
    expected = standing(stack, board) if expected is None else expected
    found, offset = [], 0
    while True:
        page = ask(stack, f"{board}/top?limit=1000&offset={offset}").json()
        assert page["members"] == len(expected)
        found += page["items"]
        offset += 1000
        if page["count"] < 1000:
            break
    assert [(item["member"], item["score"]) for item in found] == expected
    assert [item["rank"] for item in found] == list(range(1, len(expected) + 1))
    for rank, (member, score) in enumerate(expected if ranks else [], 1):
        one = ask(stack, f"{board}/{quote(member, safe='')}").json()
        assert (one["rank"], one["score"], one["members"]) == (rank, score, len(expected)), member


# What everybody sees.

def test_the_boards_are_listed(boards):
    items = {item["board"]: item for item in ask(boards, "").json()["items"]}
    assert set(items) == {"game", "total", "level", "days", "league", "momentum", "value"}
    assert items["total"]["mode"] == "sum" and items["momentum"]["mode"] == "last"
    assert items["league"]["current"] == "2021-01-01"


def test_scores_come_and_are_found_at_once(boards):
    answer = submit(boards, "game", {"member": "amy", "score": 12.5})
    assert answer.status_code == 200 and answer.headers["Cache-Control"] == "no-store"
    assert answer.json() == {"board": "game", "period": None, "mode": "best", "scores": [{"member": "amy", "score": 12.5, "changed": True}]}
    for score in range(13, 60):
        assert submit(boards, "game", {"member": "amy", "score": score}).json()["scores"][0]["changed"]
        assert ask(boards, "game/amy").json()["score"] == score
    assert boards.request("DELETE", "/api/leaderboards/game/amy", admin=True).status_code == 200
    assert_problem(ask(boards, "game/amy"), 404, "no score")


def test_ties_stand_in_the_order_in_which_they_were_reached(boards):
    for member in ("zoe", "amy", "kim"):
        submit(boards, "level", {"member": member, "score": 5})
    submit(boards, "level", {"member": "kim", "score": 4})
    submit(boards, "level", {"member": "kim", "score": 5})
    submit(boards, "level", {"member": "zoe", "score": 5})
    expected = [("zoe", 5), ("amy", 5), ("kim", 5)]
    assert_agrees(boards, "level", expected)
    wait_for_l2(boards, "level")
    assert_agrees(boards, "level", expected)
    around = ask(boards, "level/amy/around?range=1").json()
    assert [item["member"] for item in around["items"]] == ["zoe", "amy", "kim"] and around["rank"] == 2
    assert ask(boards, "level/kim").json()["percentile"] == 0


def test_what_another_program_writes_is_on_the_board_within_a_second(boards):
    def top():
        return [item["member"] for item in ask(boards, "game/top").json()["items"]][:3]

    def took():
        """Seconds until changes are seen."""
        submit(boards, "game", [("a", 1), ("b", 2), ("c", 3)], "last")
        boards.request("DELETE", "/api/leaderboards/game/d", admin=True)
        wait_for_l2(boards, "game")
        assert top() == ["c", "b", "a"]
        db = database(boards)
        db.execute("UPDATE larder_scores SET score = 9 WHERE board = 'game' AND member = 'a'")
        db.execute("DELETE FROM larder_scores WHERE board = 'game' AND member = 'b'")
        db.execute("INSERT INTO larder_scores (board, member, score) VALUES ('game', 'd', 5)")
        began = time.monotonic()
        db.close()
        wait_for("the changes are seen", lambda: top() == ["a", "d", "c"])
        return time.monotonic() - began

    # A machine may stand still for a second, but not each time.
    assert any(took() < 1 for _ in range(5))
    assert_agrees(boards, "game")


def test_the_stock_boards_are_boards(boards):
    for board in ("momentum", "value"):
        assert len(standing(boards, board)) > 20
        assert_agrees(boards, board)
        wait_for_l2(boards, board)
        assert_agrees(boards, board)
    put = {"name": "Acme", "sector": "Anvils", "price": 50, "week_52_low": 0, "week_52_high": 50, "earnings_share": 5}
    assert boards.request("PUT", "/api/stocks/ACME", admin=True, json=put).status_code == 200
    assert ask(boards, "momentum/ACME").json()["rank"] == 1
    assert boards.request("DELETE", "/api/stocks/ACME", admin=True).status_code == 200
    assert_problem(ask(boards, "momentum/ACME"), 404, "no score")
    assert_agrees(boards, "momentum")


def test_an_import_fills_the_stock_boards_and_keeps_the_place_of_who_has_not_moved(make_stack):
    stack = make_stack("--data", data_file(), *PATIENT)
    stack.l2 = "redis"
    wait_for_l2(stack, "momentum")
    before = standing(stack, "momentum")
    assert len(before) > 400
    assert_agrees(stack, "momentum", before, ranks=False)
    assert stack.larder("import", "stocks", data_file()).returncode == 0
    assert_agrees(stack, "momentum", before, ranks=False)
    shared = stack.get("/api/stocks/leaderboard/top?limit=200").json()["items"]
    assert [item["ticker"] for item in shared] == [member for member, _ in before[:200]]


def test_what_an_import_changes_is_on_the_board_when_it_has_ended(boards, tmp_path):
    header = ("Symbol,Name,Sector,Price,Price/Earnings,Dividend Yield,Earnings/Share,52 Week Low,52 Week High,Market Cap,EBITDA,"
              "Price/Sales,Price/Book,SEC Filings\n")
    for price in range(60, 80):
        file = tmp_path / "one.csv"
        file.write_text(header + f"IMPB,Imported,Anvils,{price},,,6,0,100,,,,,\n")
        assert boards.larder("import", "stocks", file).returncode == 0
        assert ask(boards, "momentum/IMPB").json()["score"] == price
    file.write_text(header + "IMPB,Imported,Anvils,,,,6,0,100,,,,,\n")
    assert boards.larder("import", "stocks", file).returncode == 0
    assert_problem(ask(boards, "momentum/IMPB"), 404, "no score")
    assert_agrees(boards, "momentum")
    assert boards.request("DELETE", "/api/stocks/IMPB", admin=True).status_code == 200


def test_a_period_that_has_ended_stays_as_it_is(boards):
    db = database(boards)
    db.execute("INSERT OR REPLACE INTO larder_scores (board, member, score) VALUES ('league@2020-01-01', 'old', 3), ('league@2020-01-01', 'hat', 4)")
    db.close()
    submit(boards, "league", {"member": "old", "score": 1})
    assert ask(boards, "league/old").json()["period"] == "2021-01-01"
    old = ask(boards, "league/old?period=2020-01-01")
    assert (old.json()["rank"], old.json()["score"], source(old)) == (2, 3, "origin")
    periods = ask(boards, "league/periods").json()["items"]
    assert periods == [{"period": "2021-01-01", "members": 1, "current": True}, {"period": "2020-01-01", "members": 2, "current": False}]
    assert_problem(ask(boards, "league/top?period=2020-06-01"), 400, "2020-01-01")
    assert_problem(ask(boards, "league/top?period=2999-01-01"), 404, "no such period")
    today = submit(boards, "days", {"member": "old", "score": 1}).json()["period"]
    assert ask(boards, f"days/top?period={today}").json()["members"] >= 1


# What is refused.

DEEP = '{"member":"a","score":' + "[" * 1000 + "]" * 1000 + "}"
REFUSED = [
    ("1001 scores", json.dumps({"scores": [{"member": str(i), "score": i} for i in range(1001)]}), 422, "1000"),
    ("depth", DEEP, 400, "nested deeper"),
    ("400 digits", '{"member":"a","score":' + "9" * 400 + "}", 422, "2^53"),
    ("400 digits below zero", '{"member":"a","score":-' + "1" * 400 + "}", 422, "2^53"),
    ("an exponent of 400 digits", '{"member":"a","score":1e' + "9" * 400 + "}", 422, "2^53"),
    ("a member of 1 KiB", '{"member":"' + "m" * 1024 + '","score":1}', 422, "256 bytes"),
    ("NaN", '{"member":"a","score":NaN}', 400, "no JSON"),
    ("infinite", '{"member":"a","score":Infinity}', 400, "no JSON"),
    ("too large", '{"member":"a","score":1e999}', 422, "2^53"),
    ("beyond 2^53", '{"member":"a","score":9007199254740994}', 422, "2^53"),
    ("a string", '{"member":"a","score":"1"}', 422, "no number"),
    ("missing", '{"member":"a"}', 422, "no `score`"),
    ("an empty list", '{"scores":[]}', 422, "no scores"),
    ("twice", '{"scores":[{"member":"a","score":1},{"member":"a","score":2}]}', 422, "more than one"),
    ("duplicate members", '{"member":"a","score":1,"score":2}', 400, "before"),
    ("both", '{"scores":[{"member":"a","score":1}],"member":"a","score":1}', 422, "both"),
    ("mode", '{"member":"a","score":1,"mode":"most"}', 422, "mode"),
    ("empty member", '{"member":"","score":1}', 422, "256 bytes"),
    ("control", '{"member":"a\\u001b","score":1}', 422, "control"),
    ("UTF-8", b'{"member":"\xc3\x28","score":1}', 400, "UTF-8"),
]


@pytest.mark.parametrize("what, body, status, word", REFUSED, ids=[row[0] for row in REFUSED])
def test_a_body_that_will_not_do_writes_nothing(boards, what, body, status, word):
    db = database(boards)
    before = db.execute("SELECT (SELECT count(*) FROM larder_scores), (SELECT max(seq) FROM sqlite_sequence)").fetchone()
    answer = boards.request("POST", "/api/leaderboards/game/scores", admin=True, data=body, headers={"Content-Type": "application/json"})
    assert_problem(answer, status, word)
    assert db.execute("SELECT (SELECT count(*) FROM larder_scores), (SELECT max(seq) FROM sqlite_sequence)").fetchone() == before
    db.close()


def test_a_sum_beyond_2_to_the_53_is_refused_as_a_whole(boards):
    submit(boards, "total", {"member": "rich", "score": 2 ** 53 - 1}, "last")
    assert_problem(submit(boards, "total", [("poor", 1), ("rich", 1)]), 409, "2^53")
    assert_problem(ask(boards, "total/poor"), 404)


def test_a_thousand_scores_are_one_request(boards):
    scores = [(f"member {i:04}", i * 0.25) for i in range(1000)]
    answer = submit(boards, "days", scores)
    assert answer.status_code == 200 and len(answer.json()["scores"]) == 1000
    assert ask(boards, "days/member%200999").json()["rank"] == 1


# Any history.

class Model:
    """The boards as they should be."""

    def __init__(self):
        self.boards, self.number = {}, 0

    def put(self, board, member, score, mode):
        scores = self.boards.setdefault(board, {})
        old = scores.get(member)
        if old and mode == "best":
            score = max(score, old[0])
        if old and mode == "sum":
            score = old[0] + score
        if not old or old[0] != score:
            self.number += 1
            scores[member] = (score, self.number)
            return True
        return False

    def remove(self, board, member):
        self.number += 1
        return self.boards.get(board, {}).pop(member, None)

    def standing(self, board):
        scores = self.boards.get(board, {})
        return [(member, scores[member][0]) for member in sorted(scores, key=lambda member: (-scores[member][0], scores[member][1]))]


def step(stack, model, chance):
    """One thing that may happen to a board; what is answered is what the model says."""
    board = chance.choice(["game", "total", "level"])
    default = {"game": "best", "total": "sum", "level": "last"}[board]
    members = [f"m{i}é" for i in range(30)]
    what = chance.random()
    if what < 0.6:
        mode = chance.choice([None, None, "best", "last", "sum"])
        scores = [(member, chance.randrange(-8, 9) / 4) for member in chance.sample(members, chance.choice([1, 1, 2, 12]))]
        answer = submit(stack, board, scores, mode)
        assert answer.status_code == 200, answer.text
        for (member, score), item in zip(scores, answer.json()["scores"], strict=True):
            assert item["changed"] == model.put(board, member, score, mode or default)
            assert (item["member"], item["score"]) == (member, model.boards[board][member][0])
    elif what < 0.75:
        member = chance.choice(members)
        answer = stack.request("DELETE", f"/api/leaderboards/{board}/{quote(member)}", admin=True)
        assert answer.status_code == (200 if model.remove(board, member) else 404)
    elif what < 0.85:
        member, score = chance.choice(members), chance.randrange(-8, 9) / 4
        db = database(stack)
        db.execute("INSERT INTO larder_scores (board, member, score) VALUES (?, ?, ?) "
                   "ON CONFLICT (board, member) DO UPDATE SET score = excluded.score", (board, member, score))
        db.close()
        model.put(board, member, score, "last")
        # Another program's change is known to Redis a moment later.
        wait_for("it is seen", lambda: ask(stack, f"{board}/{quote(member)}").json().get("score") == score)
    elif what < 0.87 and stack.l2 == "redis":
        stack.redis().flushall()
        time.sleep(0.3)
    else:
        expected = model.standing(board)
        page = ask(stack, f"{board}/top?limit=1000").json()
        assert [(item["member"], item["score"]) for item in page["items"]] == expected
        if expected:
            at = chance.randrange(len(expected))
            one = ask(stack, f"{board}/{quote(expected[at][0])}/around?range=2").json()
            assert [(item["member"], item["score"]) for item in one["items"]] == expected[max(0, at - 2):at + 3]
            assert one["rank"] == at + 1


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_history_is_told_alike_by_redis_by_sql_and_by_a_list_kept_here(boards, seed):
    chance, model = random.Random(seed), Model()
    db = database(boards)
    db.execute("DELETE FROM larder_scores WHERE board IN ('game', 'total', 'level')")
    db.close()
    for board in ("game", "total", "level"):
        wait_for("the board is empty", lambda board=board: ask(boards, f"{board}/top").json()["members"] == 0)
    for _ in range(250):
        step(boards, model, chance)
    for board in ("game", "total", "level"):
        expected = model.standing(board)
        assert standing(boards, board) == expected
        assert_agrees(boards, board, expected)
        wait_for_l2(boards, board)
        assert_agrees(boards, board, expected)


# Redis.

def fill(stack, seed=0, members=60):
    chance = random.Random(seed)
    for board in ("game", "level"):
        submit(stack, board, [(f"m{i}", chance.randrange(40)) for i in range(members)])


def test_a_redis_that_comes_back_empty_is_filled_by_itself(redis_boards):
    stack = redis_boards
    fill(stack)
    wait_for_l2(stack, "game")
    assert_agrees(stack, "game")
    stack.kill(stack.redis_pid)
    assert_agrees(stack, "game")
    assert source(ask(stack, "game/top")) == "origin"
    submit(stack, "game", {"member": "during", "score": 99})
    assert ask(stack, "game/during").json()["rank"] == 1
    stack.up()
    assert ask(stack, "game/during").json()["rank"] == 1
    assert_agrees(stack, "game")
    for board in ("game", "level", "momentum"):
        wait_for_l2(stack, board)
        assert_agrees(stack, board)


def test_a_redis_that_comes_back_as_it_once_was_is_brought_up_to_date(redis_boards):
    stack = redis_boards
    fill(stack)
    wait_for_l2(stack, "game")
    stack.redis().save()
    submit(stack, "game", [("m1", 77), ("new", 78)])
    stack.request("DELETE", "/api/leaderboards/game/m2", admin=True)
    wait_for_l2(stack, "game")
    stack.kill(stack.redis_pid)
    stack.up()
    for _ in range(20):
        assert [item["member"] for item in ask(stack, "game/top?limit=2").json()["items"]] == ["new", "m1"]
        assert ask(stack, "game/m2").status_code == 404
    assert_agrees(stack, "game")
    wait_for_l2(stack, "game")
    assert_agrees(stack, "game")


def test_a_redis_that_is_emptied_is_filled_again(redis_boards):
    stack = redis_boards
    fill(stack)
    for round_ in range(5):
        wait_for_l2(stack, "game")
        stack.redis().flushall()
        assert_agrees(stack, "game", ranks=False)
        submit(stack, "game", {"member": f"round {round_}", "score": 100 + round_})
        assert_agrees(stack, "game", ranks=False)
    wait_for_l2(stack, "level")
    assert_agrees(stack, "level")


def test_a_part_of_a_board_that_redis_has_lost_is_noticed(redis_boards):
    stack = redis_boards
    fill(stack)
    wait_for_l2(stack, "game")
    for key in stack.redis().scan_iter("*"):
        if b"game" not in key:
            continue
        stack.redis().delete(key)
        assert_agrees(stack, "game", ranks=False)
        wait_for_l2(stack, "game")
        assert_agrees(stack, "game")


def test_a_period_that_has_ended_leaves_redis(redis_boards):
    stack, r = redis_boards, redis_boards.redis()
    fill(stack)
    submit(stack, "days", {"member": "amy", "score": 1})
    wait_for_l2(stack, "days")
    known = next(name for name in r.scan_iter("*:boards") if r.type(name) == b"hash")
    part = known.decode().removesuffix("boards")
    ended = [f"{part}board:days@2020-01-01", f"{part}reached:days@2020-01-01"]
    r.zadd(ended[0], {"": "inf"})
    r.hset(ended[1], "", "")
    r.hset(known, ended[0], "")
    # The one that begins looks at once, and then each minute.
    stack.kill(*stack.children("housekeeper"))
    wait_for("the ended period is gone", lambda: not r.exists(*ended) and not r.hexists(known, ended[0]))
    wait_for_l2(stack, "days")
    assert_agrees(stack, "game")


def test_the_log_of_changes_is_emptied_once_they_have_been_told(boards):
    submit(boards, "game", [(f"m{i}", i) for i in range(500)])

    def count():
        db = database(boards)
        try:
            return db.execute("SELECT count(*) FROM larder_score_log").fetchone()[0]
        finally:
            db.close()
    wait_for("the log is empty", lambda: count() == 0)
    assert_agrees(boards, "game", ranks=False)


def test_a_board_that_is_new_in_the_configuration_has_all_of_its_scores(redis_boards):
    stack = redis_boards
    db = database(stack)
    db.executemany("INSERT INTO larder_scores (board, member, score) VALUES ('later', ?, ?)", [(f"m{i}", i) for i in range(50)])
    db.close()
    assert_problem(ask(stack, "later/top"), 404)
    with (stack.dir / "larder.conf").open("a") as file:
        file.write("[board.later]\n")
    stack.reload()
    assert ask(stack, "later/top").status_code == 200
    for _ in range(20):
        assert_agrees(stack, "later", ranks=False)
    wait_for_l2(stack, "later")
    assert_agrees(stack, "later")


def test_a_log_that_has_grown_too_long_is_cut_and_the_boards_are_copied(redis_boards):
    stack = redis_boards
    fill(stack)
    wait_for_l2(stack, "game")
    stack.kill(stack.redis_pid)
    db = database(stack)
    db.execute("WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100100) "
               "INSERT INTO larder_scores (board, member, score) SELECT 'total', 'm' || i, i % 977 FROM n")
    wait_for("the log is cut", lambda: db.execute("SELECT count(*) FROM larder_score_log").fetchone()[0] < 1000, 60)
    db.close()
    stack.up()
    wait_for_l2(stack, "total", 60)
    assert_agrees(stack, "total", ranks=False)
    assert_agrees(stack, "game")
    expected = standing(stack, "total")
    for rank in (1, 2, 977, 50000, len(expected)):
        answer = ask(stack, f"total/{expected[rank - 1][0]}")
        assert (answer.json()["rank"], source(answer)) == (rank, "L2")


def test_a_database_that_was_put_back_takes_the_boards_back_with_it(redis_boards):
    stack = redis_boards
    fill(stack)
    db, copy = database(stack), sqlite3.connect(stack.dir / "copy.db")
    db.backup(copy)
    copy.close()
    db.close()
    expected = standing(stack, "game")
    submit(stack, "game", [("m1", 77), ("new", 78)])
    stack.request("DELETE", "/api/leaderboards/game/m2", admin=True)
    wait_for_l2(stack, "game")
    stack.redis().save()
    stack.down()
    for ending in ("-wal", "-shm"):
        (stack.dir / f"larder.db{ending}").unlink(missing_ok=True)
    (stack.dir / "copy.db").rename(stack.dir / "larder.db")
    stack.up()
    assert_agrees(stack, "game", expected)
    wait_for_l2(stack, "game")
    assert_agrees(stack, "game", expected)


def test_another_host_has_the_same_boards(make_stack):
    stack = make_stack("--hosts", 2, *BOARDS, *PATIENT)
    stack.l2 = "redis"
    fill(stack)
    expected = [item["member"] for item in ask(stack, "game/top?limit=1000").json()["items"]]

    def other(path):
        return stack.http.get(f"{stack.url2}/api/leaderboards/{path}", timeout=30)
    wait_for("it is read from Redis", lambda: source(other("game/top")) == "L2")
    assert [item["member"] for item in other("game/top?limit=1000").json()["items"]] == expected
    for score in range(50, 80):
        submit(stack, "game", {"member": "new", "score": score})
        wait_for("it is seen", lambda score=score: other("game/new").json().get("score") == score)
    wait_for_l2(stack, "game")
    assert_agrees(stack, "game")


# The terms of a write.

def test_a_repeated_submission_is_counted_once(boards):
    key = {"Idempotency-Key": f"boards-{boards.l2}-{time.time()}"}
    before = ask(boards, "total/again").json().get("score", 0)
    first = submit(boards, "total", {"member": "again", "score": 2}, headers=key)
    second = submit(boards, "total", {"member": "again", "score": 2}, headers=key)
    assert first.json() == second.json() and second.headers["Idempotency-Replayed"] == "true"
    assert ask(boards, "total/again").json()["score"] == before + 2
    assert_problem(submit(boards, "total", {"member": "again", "score": 3}, headers=key), 422, "Idempotency-Key")
    assert_problem(submit(boards, "total", {"member": "again", "score": 3}, headers={"If-Match": '"0123456789abcdef"'}), 412)
    assert ask(boards, "total/again").json()["score"] == before + 2


def test_a_repeated_removal_leaves_a_newer_score_whoever_wrote_between(boards):
    def remove():
        return boards.request("DELETE", "/api/leaderboards/level/leaver", admin=True,
                              headers={"Idempotency-Key": f"leaver-{boards.l2}"})

    submit(boards, "level", {"member": "leaver", "score": 1})
    first = remove()
    for number in range(3):
        submit(boards, "level", {"member": "other", "score": number}, headers={"Idempotency-Key": f"other-{boards.l2}-{number}"})
    submit(boards, "level", {"member": "leaver", "score": 2})
    second = remove()
    assert first.json() == second.json() and second.headers["Idempotency-Replayed"] == "true"
    assert ask(boards, "level/leaver").json()["score"] == 2


# Processes that die.

@pytest.mark.parametrize("role", ["worker", "housekeeper", "writer"])
def test_kills_between_the_writes_to_the_database_and_to_redis_are_made_good(redis_boards, role):
    stack, stop, chance = redis_boards, threading.Event(), random.Random(role)
    answered = [{} for _ in range(6)]

    def write(number):
        it, mine = random.Random(number), answered[number]
        while not stop.is_set():
            member, score = f"{number}-{it.randrange(20)}", it.randrange(1000)
            try:
                answer = submit(stack, "level", {"member": member, "score": score})
            except OSError:
                mine.pop(member, None)
                continue
            if answer.status_code == 200:
                mine[member] = score
            else:
                mine.pop(member, None)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(len(answered))]
    for writer in writers:
        writer.start()
    for _ in range(12):
        time.sleep(chance.uniform(0.05, 0.4))
        stack.kill(*stack.children(role)[:1])
    stop.set()
    for writer in writers:
        writer.join()
    wait_for("larder is ready", lambda: stack.get("/readyz").status_code == 200, 60)
    kept = dict(standing(stack, "level"))
    for mine in answered:
        assert {member: kept.get(member) for member in mine} == mine
    wait_for_l2(stack, "level")
    wait_for("Redis has followed", lambda: submit(stack, "level", {"member": "last", "score": time.time()}).status_code == 200
             and source(ask(stack, "level/last")) == "L2", 60)
    assert_agrees(stack, "level")
