"""Interactive questions overtake whatever waits in bulk."""

from __future__ import annotations

import csv


def test_an_interactive_question_overtakes_a_bulk_backlog(mill, tmp_path):
    file = tmp_path / "backlog.csv"
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["question"])
        writer.writerows([f"Where is my order number {n}?"] for n in range(5_000))
    mill.start_worker()
    bulk = mill.json("submit", str(file))["batch"]
    mill.await_final(bulk, 1, 60)

    asked = mill.json("ask", "How do I return a lamp?", "--wait", "30s")

    assert asked["status"] == "answered"
    assert mill.final(bulk) < 5_000
    assert mill.run("cancel", str(bulk)).returncode == 0
    after = mill.json("status", str(bulk))
    assert (after["state"], after["queued"]) == ("cancelled", 0)
    assert after["cancelled"] > 0
