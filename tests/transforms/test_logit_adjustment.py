# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score

from ctan_networks.errors import ConfigError
from ctan_networks.transforms import LogitAdjustmentd

PRIOR = [0.7, 0.2, 0.1]


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0])
def test_probabilities_are_divided_by_a_power_of_the_prior(tau):
    logits = torch.tensor([2.0, 1.0, -0.5])
    adjusted = LogitAdjustmentd("a", PRIOR, tau)({"a": logits})["a"].softmax(0)
    wanted = logits.softmax(0) / torch.tensor(PRIOR) ** tau
    torch.testing.assert_close(adjusted, wanted / wanted.sum())


def test_the_bayes_classifier_becomes_the_best_by_balanced_accuracy():
    """Gaussian classes of known frequencies: with tau 1 it is the classifier of classes that are all as frequent."""
    rng = np.random.default_rng(0)
    centres = np.array([0.0, 1.5, -1.5])
    labels = rng.choice(3, 20_000, p=PRIOR)
    x = rng.normal(centres[labels], 1.0)
    likelihood = -0.5 * (x[:, None] - centres) ** 2
    posterior = torch.from_numpy(likelihood + np.log(PRIOR))
    scores = {
        tau: balanced_accuracy_score(
            labels, [int(LogitAdjustmentd("a", PRIOR, tau)({"a": row})["a"].argmax()) for row in posterior]
        )
        for tau in (0.0, 1.0, 2.0)
    }
    assert scores[1.0] == pytest.approx(balanced_accuracy_score(labels, likelihood.argmax(1)), abs=1e-12)
    assert scores[1.0] > scores[0.0] + 0.1 and scores[1.0] > scores[2.0] + 0.05


def test_a_missing_key_and_other_types():
    assert LogitAdjustmentd("a", PRIOR, allow_missing_keys=True)({"b": 1}) == {"b": 1}
    assert LogitAdjustmentd("a", PRIOR)({"a": torch.zeros(3, dtype=torch.bfloat16)})["a"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prior": None}, "do not say how frequent"),
        ({"prior": [1.0, 0.0, 0.2]}, "more than 0"),
        ({"prior": PRIOR, "tau": -1.0}, "at least 0"),
    ],
)
def test_wrong_arguments(arguments, said):
    with pytest.raises(ConfigError, match=said):
        LogitAdjustmentd("a", **arguments)


def test_another_number_of_classes():
    with pytest.raises(ConfigError, match="a has 4 classes, the prior 3"):
        LogitAdjustmentd("a", PRIOR)({"a": torch.zeros(4)})
