"""Routes `/v1/batches/{batch}/deliveries`: webhook deliveries and replays."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint

from core.domain.api_key import Scope
from db.queries.webhook_deliveries import Delivery
from producer.web import problems
from producer.web.api.schemas import (
    BatchPath,
    DeliveriesResponse,
    DeliveryPath,
    DeliveryResponse,
)
from producer.web.auth.authorization import SCHEME, requires_scope
from producer.web.context import current_context
from producer.webhooks import delivery

api = APIBlueprint(
    "deliveries",
    __name__,
    url_prefix="/v1/batches/<batch>/deliveries",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)


@api.get("", summary="List webhook deliveries", responses={200: DeliveriesResponse})
@requires_scope(Scope.READ)
def listing(path: BatchPath) -> Response:
    """Return the deliveries of a batch, with their state and attempts."""
    deliveries = delivery.listed(current_context().engine, path.batch)
    return jsonify(deliveries=[_document(item) for item in deliveries])


@api.post(
    "/<delivery>/replay", summary="Send a webhook message again", responses={200: DeliveryResponse}
)
@requires_scope(Scope.SUBMIT, recorded=True)
def replay(path: DeliveryPath) -> Response:
    """Send a message again, in any state, with the same message id."""
    replayed = delivery.replay(current_context().engine, path.batch, path.delivery)
    return jsonify(_document(replayed))


def _document(item: Delivery) -> dict[str, Any]:
    document = item.document()
    times = ("created_at", "next_at", "delivered_at")
    return document | {name: document[name] and document[name].isoformat() for name in times}
