from __future__ import annotations

from dataclasses import replace

import pytest

from core.errors import BundleInvalid
from worker.model.bundle.bundle import Bundle
from worker.model.encoder.base import KINDS, EncoderKind, first_line
from worker.model.encoder.open import open_encoder


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_that_a_manifest_may_name_is_opened(
    tiny_bundles: dict[EncoderKind, Bundle], kind: EncoderKind
):
    encoder = open_encoder(tiny_bundles[kind], 1)
    assert type(encoder).__name__.lower() == f"{kind.engine}encoder"
    assert encoder.encode(encoder.tokenize(["refund"])).shape == (1, 32)


@pytest.mark.parametrize(
    "changed",
    [{"engine": "tpu"}, {"precision": "int8"}, {"precision": "int1"}, {"pooling": "max"}],
)
def test_a_kind_of_a_later_release_is_refused(tiny_bundle: Bundle, changed: dict[str, str]):
    bundle = Bundle(tiny_bundle.path, replace(tiny_bundle.manifest, **changed))
    (unknown,) = changed.values()
    with pytest.raises(BundleInvalid, match=f"cannot run an encoder in .*{unknown}"):
        open_encoder(bundle)


def test_a_long_error_message_is_cut_to_its_first_line():
    assert first_line(ValueError("\n one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"
