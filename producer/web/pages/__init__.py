"""The page: what people do in a browser, rendered here, whole without any script."""

from producer.web.pages import ask, batches, handoffs, models, upload
from producer.web.pages.layout import page

__all__ = ["ask", "batches", "handoffs", "models", "page", "upload"]
