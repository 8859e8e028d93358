import pytest

from net.links.spec import LinkSpec

TABLE = {"delay_s": 0.01, "jitter_s": 0.01, "jitter_distribution": "table"}


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (LinkSpec(loss_markov=(0.6, 0.1, 0.1, 0.1, 0.5)), {"loss_markov"}),
        (LinkSpec(loss_markov=(0.5, 0.6, 0.5, 0.1, 0.5)), {"loss_markov"}),
        (LinkSpec(loss_markov=(0.5, 0.5, 0.5, 1.0, 0.5)), set()),
        (LinkSpec(loss_gilbert=(0.5, 0.5, 1.0, 1.0)), set()),
        (LinkSpec(loss_gilbert=(0.5, 0.5, 1.0)), {"loss_gilbert"}),
        (LinkSpec(slot_s=(1e-300, 1e-300)), {"slot_s"}),  # adding it up would lead nowhere
        (LinkSpec(slot_s=(1e-9, 1.0)), {"slot_s"}),
        (LinkSpec(slot_s=(1e-6, 1e-6)), set()),
        (LinkSpec(**TABLE, jitter_table=(-1e308, 1e308)), {"jitter_table"}),
        (LinkSpec(**TABLE, jitter_table=(-1000.0, 1000.0)), set()),
    ],
)
def test_what_makes_no_sense_is_named(spec, wrong):
    assert set(spec.problems()) == wrong
