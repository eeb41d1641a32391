"""Histograms that are added up here say what the SDK's would."""

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource

from llmrouter.common.telemetry.histograms import Histograms, JoinedReader
from llmrouter.common.telemetry.names import INSTRUMENTS, Name

NAME = Name.TOKENS_GENERATED
ABOUT = INSTRUMENTS[NAME]
LABELS = st.sampled_from(["a", "b"])
VALUES = st.floats(0, 1e6) | st.sampled_from(ABOUT.buckets)


def points(reader):
    data = reader.get_metrics_data()
    if data is None:
        return {}
    [metric] = [
        one for one in data.resource_metrics[0].scope_metrics[0].metrics if one.name == NAME
    ]
    return {
        point.attributes["model"]: (
            point.count, tuple(point.bucket_counts), round(point.sum, 3), point.min, point.max,
            tuple(point.explicit_bounds),
        )
        for point in metric.data.data_points
    }  # fmt: skip


@given(st.lists(st.tuples(LABELS, VALUES), max_size=40))
def test_whatever_values_come_the_points_are_those_of_the_sdk(values):
    theirs = InMemoryMetricReader()
    sdk = MeterProvider([theirs], shutdown_on_exit=False).get_meter("test")
    reference = sdk.create_histogram(
        NAME, ABOUT.unit, explicit_bucket_boundaries_advisory=ABOUT.buckets
    )
    ours = Histograms()
    for label, value in values:
        reference.record(value, {"model": label})
        ours.record(NAME, value, (("model", label),))
    reader = JoinedReader(ours, Resource({}))
    MeterProvider([reader], shutdown_on_exit=False)
    assert points(reader) == points(theirs)


def test_all_metrics_of_a_process_leave_in_one_scope():
    ours = Histograms()
    reader = JoinedReader(ours, Resource({}))
    sdk = MeterProvider([reader], shutdown_on_exit=False).get_meter("test")
    sdk.create_counter(Name.REQUESTS).add(1)
    ours.record(NAME, 3, (("model", "a"),))
    [resource] = reader.get_metrics_data().resource_metrics
    [scope] = resource.scope_metrics
    assert [metric.name for metric in scope.metrics] == [Name.REQUESTS, NAME]
