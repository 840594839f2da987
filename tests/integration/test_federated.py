# SPDX-License-Identifier: Apache-2.0
"""The bundles under MONAI's MonaiAlgo, which is what NVFlare's executor runs: two sites, averaged weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.fl.client import MonaiAlgo
from monai.fl.utils.constants import ExtraItems, ModelType
from monai.fl.utils.exchange_object import ExchangeObject

from ctan_networks.datasets.ham10000.phantoms import ham10000_cohort
from ctan_networks.datasets.openkbp.phantoms import openkbp_cohort
from ctan_networks.datasets.prostate.phantoms import prostate_cohort
from ctan_networks.datasets.stoic.phantoms import stoic_cohort

BUNDLES = {
    "openkbp_ctan": (
        lambda folder, seed: openkbp_cohort(folder, train=2, validation=1, seed=seed),
        {"network_def#channels": [4, 8, 12], "crop_size": [32, 32, 32]},
        {"dice", "dose_score", "dvh_score"},
    ),
    "prostate_ctan": (
        lambda folder, seed: prostate_cohort(folder, patients=5, seed=seed),
        {"network_def#channels": [4, 8, 12], "crop_size": [32, 32, 32]},
        {"dice", "dose_score", "dvh_score"},
    ),
    "ham10000_ctan": (
        lambda folder, seed: ham10000_cohort(folder, lesions=21, seed=seed),
        {"network_def#channels": [16, 16, 16], "batch_size": 8},
        {"dice", "balanced_accuracy", "roc_auc"},
    ),
    "stoic_ctan": (
        lambda folder, seed: stoic_cohort(folder, patients=10, seed=seed),
        {"network_def#channels": [4, 8, 12], "batch_size": 4},
        {"covid_auc", "severity_auc"},
    ),
}
Weights = dict[str, torch.Tensor]


def site(bundle, name: str, data: object, folder: Path, **options: Any) -> MonaiAlgo:
    """A site as its NVFlare client makes it, with its own data and folders."""
    given = {
        "dataset_dir": str(data),
        "output_dir": str(folder / "run"),
        "cache_dir": str(folder / "cache"),
        "num_workers": 0,
        **options,
    }
    # Two rounds of one epoch; the learning rate falls over both.
    rounds = {"total_steps": "$2 * @train#trainer#max_epochs * len(@train#dataloader)"}
    algo = MonaiAlgo(
        bundle_root=str(bundle.folder),
        local_epochs=1,
        send_weight_diff=False,
        train_kwargs=given | rounds,
        eval_kwargs=given | {"checkpoint": "global weights"},
        best_model_filepath=str(folder / "run" / "model.pt"),
    )
    algo.initialize({ExtraItems.CLIENT_NAME: name})
    return algo


def sent(algo: MonaiAlgo) -> Weights:
    """The weights as the server gets them: copies, where on the CPU MonaiAlgo gives the network's own tensors."""
    return {key: value.clone() for key, value in algo.get_weights().weights.items()}


def average(weights: list[Weights]) -> Weights:
    """FedAvg of sites with as many cases each; counters (of batch norm) are whole numbers."""
    means = {key: torch.stack([w[key].double() for w in weights]).mean(0) for key in weights[0]}
    return {key: value.to(weights[0][key].dtype) for key, value in means.items()}


def differ(a: Weights, b: Weights) -> bool:
    return any(not torch.equal(a[key].cpu(), b[key].cpu()) for key in a)


@pytest.mark.parametrize(
    "name", [n if n == "ham10000_ctan" else pytest.param(n, marks=pytest.mark.slow) for n in BUNDLES]
)
def test_two_sites_train_and_average_their_weights(bundle_copy, tmp_path, name):
    cohort, small, metrics = BUNDLES[name]
    bundle = bundle_copy(name, small={}, quick={})
    (bundle.folder / "models").mkdir(exist_ok=True)
    folders = [tmp_path / "a", tmp_path / "b"]
    data = [cohort(folder / "data", seed) for seed, folder in enumerate(folders)]
    sites = [site(bundle, f.name, d, f, **small) for f, d in zip(folders, data, strict=True)]
    shared = sent(sites[0])
    assert not differ(shared, sent(sites[1])), "the same seed: the same initial weights"
    for turn in range(2):
        returned = []
        for algo in sites:
            algo.train(ExchangeObject(weights=shared))
            result = algo.get_weights()
            assert result.statistics["num_executed_iterations"] == len(algo.trainer.data_loader)
            assert algo.trainer.state.epoch == turn + 1
            assert all(value.device.type == "cpu" for value in result.weights.values())
            assert differ(result.weights, shared) and not any(v.isnan().any() for v in result.weights.values())
            returned.append(sent(algo))
        assert differ(*returned), "other patients: other weights"
        shared = average(returned)
    for algo, folder in zip(sites, folders, strict=True):
        scores = algo.evaluate(ExchangeObject(weights=shared)).metrics
        assert metrics <= set(scores)
        network = algo.evaluator.network.state_dict()
        assert not differ(shared, network), "what is evaluated is the average, not the site's own weights"
        summary = json.loads((folder / "run" / "evaluation_validation" / "summary.json").read_text())
        assert summary["details"]["weights"] == "global weights"
        best = algo.get_weights({ExtraItems.MODEL_TYPE: ModelType.BEST_MODEL}).weights
        assert best.keys() == shared.keys()
        algo.finalize()


def test_a_round_starts_from_the_weights_it_was_given(bundle_copy, tmp_path):
    """The site's moving average too: it is what the site validates and keeps."""
    cohort, small, _ = BUNDLES["ham10000_ctan"]
    bundle = bundle_copy("ham10000_ctan", small={}, quick={})
    data = cohort(tmp_path / "data", 0)
    # Batch norm's statistics move at a learning rate of 0 as well.
    still = {"learning_rate": 0.0, "weight_decay": 0.0, "network_def#norm": "INSTANCE"}
    algo = site(bundle, "a", data, tmp_path, **small, **still)
    other = {key: value + 0.5 for key, value in sent(algo).items()}
    for _ in range(2):
        algo.train(ExchangeObject(weights=other))
        assert not differ(other, sent(algo))
        kept = torch.load(tmp_path / "run" / "last.pt", weights_only=True)["objects"]["average_network"]
        for key, value in other.items():
            torch.testing.assert_close(kept[key], value)
        other = {key: value - 0.25 for key, value in other.items()}
