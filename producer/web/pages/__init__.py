"""The page: what people do in a browser, rendered here, whole without any script."""

from producer.web.page import ask, batches, desk, models, upload
from producer.web.page.shell import page

__all__ = ["ask", "batches", "desk", "models", "page", "upload"]
