"""Invented questions to an invented shop, English and Chinese, each another one."""

from __future__ import annotations

import csv
import io
import random

_TEMPLATES = (
    "Where is my order {number}?",
    "I ordered a {thing} on {day} (order {number}) and it has not come. When will it arrive?",
    "Can I still cancel order {number}? I picked the wrong {thing}.",
    "The {thing} from order {number} is broken. How do I send it back?",
    "You charged my card twice for order {number}. Please refund one of the payments.",
    "I would like the invoice for order {number}, it is for my company",
    "how do i change the delivery address of {number}, i moved on {day}",
    "Does the {thing} have a warranty? My order number is {number}.",
    "Write me a poem about a {thing} number {number}.",
    "我的订单{number}到哪里了？",
    "订单{number}的{chinese}坏了，怎么退货？",
    "我想取消订单{number}，可以吗？",
    "订单{number}重复扣款了，请退款。",
)
_THINGS = ("lamp", "kettle", "winter jacket", "keyboard", "garden chair", "pair of shoes")
_CHINESE = ("台灯", "水壶", "外套", "键盘", "椅子")
_DAYS = ("Monday", "Tuesday", "the 3rd of May", "Friday last week")


def questions(count: int, seed: int) -> dict[str, str]:
    """Return so many questions by their keys."""
    draw = random.Random(seed)  # noqa: S311 - a sample that the seed repeats
    return {
        f"ticket-{seed}-{number}": draw.choice(_TEMPLATES).format(
            number=seed * 1_000_000 + number,
            thing=draw.choice(_THINGS),
            chinese=draw.choice(_CHINESE),
            day=draw.choice(_DAYS),
        )
        for number in range(1, count + 1)
    }


def as_csv(asked: dict[str, str]) -> str:
    """Return the questions as a file to submit."""
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(["key", "question"])
    writer.writerows(asked.items())
    return file.getvalue()
