"""`/v1/batches/…/deliveries`: whether a batch's end was told, and telling it again."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint

from core.domain.api_key import Scope
from db.queries.webhook_deliveries import Delivery
from producer.web import problems
from producer.web.api.schemas import BatchPath, DeliveriesResponse, DeliveryPath
from producer.web.api.schemas import DeliveryResponse as DeliveryShape
from producer.web.auth.authorization import SCHEME, requires_scope
from producer.web.context import current_context
from producer.webhooks import delivery as deliver

api = APIBlueprint(
    "deliveries",
    __name__,
    url_prefix="/v1/batches/<batch>/deliveries",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)


@api.get("", summary="Messages about a batch's end", responses={200: DeliveriesResponse})
@requires_scope(Scope.READ)
def listing(path: BatchPath) -> Response:
    """Tell how they stand."""
    return jsonify(
        deliveries=[_told(one) for one in deliver.listed(current_context().engine, path.batch)]
    )


@api.post("/<delivery>/replay", summary="Send a message again", responses={200: DeliveryShape})
@requires_scope(Scope.SUBMIT, recorded=True)
def replay(path: DeliveryPath) -> Response:
    """Send it again, whether it was delivered, given up or still waits; its id stays."""
    return jsonify(_told(deliver.replay(current_context().engine, path.batch, path.delivery)))


def _told(delivery: Delivery) -> dict[str, Any]:
    told = delivery.document()
    moments = ("created_at", "next_at", "delivered_at")
    return told | {name: told[name] and told[name].isoformat() for name in moments}
