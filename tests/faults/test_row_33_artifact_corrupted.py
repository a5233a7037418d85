"""Row 33: one flipped bit in a new version is refused before anything loads, with the digests; the old version goes on serving."""

import pytest

from tests.e2e.shop import Shop
from tests.engines.tiny_models import flip_one_bit, write_tiny_chat_model
from tests.harness.load import Load, nothing_lost

pytestmark = [pytest.mark.envoy, pytest.mark.postgres, pytest.mark.timeout(300)]


def test_row_33_a_flipped_bit_is_refused_before_any_load_while_the_old_version_serves(shop: Shop) -> None:
    folder = shop.models / "flipped"
    write_tiny_chat_model(folder, seed=33)  # bytes that no other version has: the cache knows files by their content
    shop.register_folder("flipped")
    flip_one_bit(folder)
    shop.forget_cache()
    shop.create("corrupted", "v1")
    before = shop.engines()
    with Load(shop.client(), "corrupted", workers=2) as load, nothing_lost(load):
        load.answer_at_least(5)
        told = shop.update("corrupted", "--traffic-split", "flipped=100", fails=True)
        load.answer_at_least(5)
    assert "model.safetensors" in told
    assert "sha" in told.lower() or "digest" in told.lower()
    status = shop.get("corrupted")["status"]
    assert status["rejected"]["reason"] == "DigestMismatch"
    assert status["live"]["variants"]["v1"]["weight"] == 100
    assert shop.engines() == before
    shop.delete("corrupted")
