"""What DynamoDB charges for on-demand requests, for estimates: US dollars per million request units.

From AWS' price lists of the regions, offer of 2026-09-11, after the cut of November 2024:
https://pricing.us-east-1.amazonaws.com/offers/v1.0/aws/AmazonDynamoDB/current/region_index.json
https://aws.amazon.com/dynamodb/pricing/on-demand/

A region that is not here is reckoned at the highest price that is, which may still be too low; the setting
DYNAMODB_PRICES replaces the table where that matters. Taxes, discounts and the free tier are not in it.
"""

import msgspec

from chalicelib.settings import RequestPrices

AS_OF = "2026-09-11"
SOURCE_URL = "https://aws.amazon.com/dynamodb/pricing/on-demand/"
_STANDARD = {
    "us-east-1": RequestPrices(0.625, 0.125),
    "eu-west-1": RequestPrices(0.705, 0.1415),
    "eu-west-2": RequestPrices(0.7423, 0.1487),
    "eu-central-1": RequestPrices(0.7625, 0.1525),
    "ap-northeast-1": RequestPrices(0.715, 0.1425),
    "ap-northeast-2": RequestPrices(0.68, 0.1355),
    "ap-south-1": RequestPrices(0.71, 0.1425),
}
_INFREQUENT_ACCESS = {
    "us-east-1": RequestPrices(0.78, 0.155),
    "ap-northeast-2": RequestPrices(0.845, 0.1695),
}
# The two known ones are 1.24 to 1.26 times the standard class' price.
_INFREQUENT_ACCESS_RATIO = 1.26
INFREQUENT_ACCESS = "STANDARD_INFREQUENT_ACCESS"


class Quote(msgspec.Struct, frozen=True):
    """`basis`: where the prices come from, for whoever reads the estimate."""

    write_usd_per_million: float
    read_usd_per_million: float
    basis: str


def quote(region: str, table_class: str, override: RequestPrices | None = None) -> Quote:
    """The prices of a region for a table class (`STANDARD` or `STANDARD_INFREQUENT_ACCESS`)."""
    if override is not None:
        return _quote(override, "as set by DYNAMODB_PRICES")
    listed = _INFREQUENT_ACCESS if table_class == INFREQUENT_ACCESS else _STANDARD
    if region in listed:
        return _quote(listed[region], f"list prices of {region} as of {AS_OF}")
    if region in _STANDARD:
        basis = f"list prices of {region} as of {AS_OF}, those of its class taken as {_INFREQUENT_ACCESS_RATIO} times"
        return _quote(_times(_STANDARD[region]), basis)
    dearest = RequestPrices(
        max(prices.write_usd_per_million for prices in _STANDARD.values()),
        max(prices.read_usd_per_million for prices in _STANDARD.values()),
    )
    basis = f"no prices of {region} are known: the highest known ones as of {AS_OF}; set DYNAMODB_PRICES to be exact"
    return _quote(_times(dearest) if table_class == INFREQUENT_ACCESS else dearest, basis)


def _times(prices: RequestPrices) -> RequestPrices:
    return RequestPrices(
        prices.write_usd_per_million * _INFREQUENT_ACCESS_RATIO, prices.read_usd_per_million * _INFREQUENT_ACCESS_RATIO
    )


def _quote(prices: RequestPrices, basis: str) -> Quote:
    return Quote(round(prices.write_usd_per_million, 6), round(prices.read_usd_per_million, 6), basis)
