"""[cost]: what training is paid with."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from stoker.spec.base import Spec

Price = Annotated[float, Field(ge=0, le=1_000_000)] | Literal["unknown"]


class CostSpec(Spec):
    """[cost]: prices, for what runs have cost. Both prices set are added up."""

    price_per_kwh: Price = Field(
        "unknown", description="Price of a kilowatt-hour, for the energy that the card measured."
    )
    price_per_hour: Price = Field(
        "unknown", description="Price of an hour of the machine, for the time that a worker was on the run."
    )
    currency: str = Field("EUR", pattern=r"^\S{1,8}$", description="What the prices are in, as it is printed.")
