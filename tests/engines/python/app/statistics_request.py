# SPDX-License-Identifier: Apache-2.0
"""The request and the answer of /v1/statistics."""

import statistics
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat


class StatisticsRequest(BaseModel):
    """The numbers to describe; strings that look like numbers are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    values: Annotated[tuple[FiniteFloat, ...], Field(min_length=1, max_length=100_000, strict=False)]


class Statistics(BaseModel):
    """What the numbers are like. ``deviation`` is that of the population."""

    model_config = ConfigDict(frozen=True)

    count: int
    mean: float
    median: float
    deviation: float


def describe(request: StatisticsRequest) -> Statistics:
    """Return the statistics of the numbers in the request."""
    return Statistics(
        count=len(request.values),
        mean=statistics.fmean(request.values),
        median=statistics.median(request.values),
        deviation=statistics.pstdev(request.values),
    )
