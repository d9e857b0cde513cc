"""Sessions of many people on Spark: the pandas measures of `analytics`, one project at a time.

    from opencode_sessions import analytics, fleet

    frames = fleet.read(spark, "s3a://company/sessions")      # what `export` wrote there
    blind = fleet.run(analytics.blind_edits, frames)          # a Spark DataFrame
    fleet.rates(blind, "is_blind", by="model")                # added up, a pandas DataFrame

No engine of our own: a group of rows becomes the frames a measure takes, the measure runs on it as
it is, and what it gives becomes rows. What one group needs has to fit into a worker's memory.
"""

from .combining import combine, rates
from .reading import Fleet, read
from .running import run
from .types import to_pandas

__all__ = ["Fleet", "combine", "rates", "read", "run", "to_pandas"]
