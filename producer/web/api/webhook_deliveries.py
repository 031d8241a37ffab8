"""`/v1/batches/…/deliveries`: whether a batch's end was told, and telling it again."""

from __future__ import annotations

from typing import Any

from flask import Response, jsonify
from flask_openapi3.blueprint import APIBlueprint

from core.domain.api_key import Scope
from db.queries.webhook_deliveries import Delivery
from producer.web import problems
from producer.web.api.schemas import BatchPath, Deliveries, DeliveryPath
from producer.web.api.schemas import Delivery as DeliveryShape
from producer.web.auth.authorization import SCHEME, needs
from producer.web.context import here
from producer.webhooks import delivery as deliver

api = APIBlueprint(
    "deliveries",
    __name__,
    url_prefix="/v1/batches/<batch>/deliveries",
    abp_security=[{SCHEME: []}],
    abp_responses=problems.responses(),
)


@api.get("", summary="Messages about a batch's end", responses={200: Deliveries})
@needs(Scope.READ)
def listing(path: BatchPath) -> Response:
    """Tell how they stand."""
    return jsonify(deliveries=[_told(one) for one in deliver.listed(here().engine, path.batch)])


@api.post("/<delivery>/replay", summary="Send a message again", responses={200: DeliveryShape})
@needs(Scope.SUBMIT, recorded=True)
def replay(path: DeliveryPath) -> Response:
    """Send it again, whether it was delivered, given up or still waits; its id stays."""
    return jsonify(_told(deliver.replay(here().engine, path.batch, path.delivery)))


def _told(delivery: Delivery) -> dict[str, Any]:
    told = delivery.document()
    moments = ("created_at", "next_at", "delivered_at")
    return told | {name: told[name] and told[name].isoformat() for name in moments}
