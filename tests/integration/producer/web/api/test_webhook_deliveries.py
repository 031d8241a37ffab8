from __future__ import annotations

import base64
from dataclasses import replace

from pydantic import SecretStr

SECRET = f"whsec_{base64.b64encode(bytes(32)).decode()}"


def test_deliveries_are_listed_and_replayed(http, front):
    plain = http.post("/v1/batches?open=true&name=a&webhook=https://example.com/")
    assert (plain.status_code, plain.json["field"]) == (422, "webhook")
    context = front.extensions["answermill"]
    settings = context.settings.model_copy(update={"webhook_secret": SecretStr(SECRET)})
    front.extensions["answermill"] = replace(context, settings=settings)
    inside = http.post("/v1/batches?open=true&name=a&webhook=https://169.254.169.254/latest")
    assert (inside.status_code, inside.json["field"]) == (422, "webhook")
    made = http.post("/v1/batches?open=true&name=a&webhook=https://example.com/hook?token=hidden")
    assert made.status_code == 201
    assert http.post("/v1/batches/a/seal").status_code == 200
    (delivery,) = http.get("/v1/batches/a/deliveries").json["deliveries"]
    assert (delivery["state"], delivery["event"]) == ("waiting", "batch.done")
    assert "hidden" not in str(delivery)
    again = http.post(f"/v1/batches/a/deliveries/{delivery['delivery']}/replay")
    assert (again.status_code, again.json["message"]) == (200, delivery["message"])
    assert http.post("/v1/batches/a/deliveries/999/replay").status_code == 404
    assert http.get("/v1/batches/none/deliveries").status_code == 404
