"""Prices: those of the region where known, else the highest known ones, and the settings before all."""

import pytest

from chalicelib.restore.prices import AS_OF, INFREQUENT_ACCESS, quote
from chalicelib.settings import RequestPrices


def test_a_known_region_has_its_list_price_with_its_date():
    found = quote("us-east-1", "STANDARD")
    assert (found.write_usd_per_million, found.read_usd_per_million) == (0.625, 0.125)
    assert AS_OF in found.basis


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "ap-northeast-2", "nowhere-1"])
def test_infrequent_access_is_dearer_in_every_region(region):
    standard, infrequent = quote(region, "STANDARD"), quote(region, INFREQUENT_ACCESS)
    assert 1.2 < infrequent.write_usd_per_million / standard.write_usd_per_million < 1.3
    assert 1.2 < infrequent.read_usd_per_million / standard.read_usd_per_million < 1.3


def test_an_unknown_region_is_taken_at_the_highest_known_price_and_says_so():
    unknown = quote("xx-north-9", "STANDARD")
    known = [quote(region, "STANDARD") for region in ("us-east-1", "eu-central-1", "ap-south-1")]
    assert unknown.write_usd_per_million >= max(each.write_usd_per_million for each in known)
    assert "no prices of xx-north-9 are known" in unknown.basis
    assert "DYNAMODB_PRICES" in unknown.basis


@pytest.mark.parametrize("region", ["us-east-1", "xx-north-9"])
def test_the_settings_replace_the_known_prices(region):
    found = quote(region, INFREQUENT_ACCESS, RequestPrices(1.5, 0.3))
    assert (found.write_usd_per_million, found.read_usd_per_million) == (1.5, 0.3)
    assert "DYNAMODB_PRICES" in found.basis
