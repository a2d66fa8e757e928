"""The metrics of what is in use: of each source, whether it is known, how old it is, and how many images it uses."""

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from aws_lambda_powertools.metrics import MetricUnit, single_metric

from .inventory import Source
from .settings import ReaderSettings

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger


def measure(known: Mapping[str, Source], images: Mapping[str, int], settings: ReaderSettings, log: "Logger") -> None:
    """Counts what the guard would say of the sources now, and the images of those that were read whole just now.

    The sources that declare are one for the alarm, which knows none of their names: all of them are known, or not all.
    """
    now = time.time()
    believed: dict[str, bool] = {}
    for name in (*settings.read_sources, *settings.usage_sources):
        source = known.get(name)
        believed[name] = source is not None and source.is_believed(now)
        if source is not None:
            _count("UsageAgeMinutes", name, max(0.0, now - source.began) / 60)
        if not believed[name]:
            log.warning("source not known", source=name, age_minutes=source and (now - source.began) / 60)
    for name in settings.read_sources:
        _count("UsageKnown", name, float(believed[name]))
    if settings.usage_sources:
        _count("UsageKnown", "declared", float(all(believed[name] for name in settings.usage_sources)))
    for name, number in images.items():
        _count("ImagesInUse", name, number)


def _count(name: str, source: str, value: float) -> None:
    with single_metric(name=name, unit=MetricUnit.NoUnit, value=value) as metric:
        metric.add_dimension(name="source", value=source)
