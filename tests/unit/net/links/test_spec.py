import pytest

from net.links.spec import LinkSpec


@pytest.mark.parametrize(
    ("spec", "wrong"),
    [
        (LinkSpec(loss_markov=(0.6, 0.1, 0.1, 0.1, 0.5)), {"loss_markov"}),
        (LinkSpec(loss_markov=(0.5, 0.6, 0.5, 0.1, 0.5)), {"loss_markov"}),
        (LinkSpec(loss_markov=(0.5, 0.5, 0.5, 1.0, 0.5)), set()),
        (LinkSpec(loss_gilbert=(0.5, 0.5, 1.0, 1.0)), set()),
        (LinkSpec(loss_gilbert=(0.5, 0.5, 1.0)), {"loss_gilbert"}),
    ],
)
def test_what_makes_no_sense_is_named(spec, wrong):
    assert set(spec.problems()) == wrong
