# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from monai.bundle import ConfigWorkflow
from monai.handlers import CheckpointLoader

from ctan_networks.datasets.stoic.phantoms import stoic_cohort
from ctan_networks.engines import inference_network
from ctan_networks.errors import ConfigError, DataError
from ctan_networks.tools.commands import export
from ctan_networks.tools.packing import network_files


@pytest.fixture(scope="module")
def exported(bundles, tmp_path_factory) -> Path:
    """A copy of a bundle with its network in every form."""
    copy = tmp_path_factory.mktemp("exported") / "stoic_ctan"
    shutil.copytree(bundles / "stoic_ctan", copy)
    for form in ("pt2", "ts"):
        assert "outputs within" in export(str(copy), form)
    if _has_onnx():
        export(str(copy), "onnx")
    return copy


def _has_onnx() -> bool:
    try:
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        return False
    return True


@pytest.mark.parametrize("backend", ["pt2", "ts", "onnx"])
def test_inference_takes_any_backend_by_one_word(exported, tmp_path, backend):
    if backend == "onnx" and not _has_onnx():
        pytest.skip("onnxruntime is not installed")
    data = stoic_cohort(tmp_path / "data", patients=4)

    def network(name: str) -> torch.nn.Module:
        file = str(exported / "configs" / "inference.json")
        options = {"dataset_dir": data, "output_dir": str(tmp_path / name), "backend": name}
        workflow = ConfigWorkflow(file, workflow_type="infer", logging_file=False, **options)
        workflow.initialize()
        assert workflow.check_properties() == []
        # The trained weights come from the checkpoint, or are in the file.
        for handler in workflow.parser.get_parsed_content("handlers"):
            if isinstance(handler, CheckpointLoader):
                handler(workflow.parser.get_parsed_content("evaluator"))
        return workflow.parser.get_parsed_content("network").eval()

    for shape in ((1, 1, 32, 48, 64), (3, 1, 64, 32, 32)):
        image = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            torch.testing.assert_close(network(backend)(image), network("eager")(image), atol=1e-4, rtol=0)


def test_a_whole_inference_by_an_exported_program(exported, tmp_path):
    pytest.importorskip("itk")
    data = stoic_cohort(tmp_path / "data", patients=4)
    tables = []
    for backend in ("eager", "pt2"):
        options = {"dataset_dir": data, "output_dir": str(tmp_path / backend), "backend": backend}
        file = str(exported / "configs" / "inference.json")
        workflow = ConfigWorkflow(file, workflow_type="infer", logging_file=False, **options)
        workflow.initialize()
        workflow.run()
        tables.append(pd.read_csv(tmp_path / backend / "probabilities.csv").filter(like="p_").to_numpy())
    assert len(tables[0]) == 4
    np.testing.assert_allclose(*tables, atol=1e-4)


@pytest.mark.parametrize("form", ["pt2", "onnx"])
def test_two_dimensions_other_batches_and_other_sizes(bundles, tmp_path, form):
    if form == "onnx" and not _has_onnx():
        pytest.skip("onnxruntime is not installed")
    file, difference = network_files.export_network(bundles / "ham10000_ctan", form, tmp_path)
    assert file.is_file() and difference < 1e-4


def test_a_file_that_gives_something_else_is_not_kept(bundles, tmp_path, monkeypatch):
    def other(network, example, stride, file):
        torch.nn.init.normal_(next(network.parameters()))
        torch.jit.script(network).save(str(file))
        torch.nn.init.zeros_(next(network.parameters()))

    monkeypatch.setitem(network_files.WRITERS, "ts", other)
    with pytest.raises(DataError, match="differ by"):
        network_files.export_network(bundles / "stoic_ctan", "ts", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_there_is_said(bundles, tmp_path):
    with pytest.raises(ConfigError, match="pt2, onnx, ts"):
        export(str(bundles / "stoic_ctan"), "tensorrt", str(tmp_path))
    with pytest.raises(DataError, match="is no bundle"):
        export(str(tmp_path))
    network = torch.nn.Linear(1, 1)
    with pytest.raises(DataError, match=r"model.onnx is not there: make it with python -m ctan_networks export"):
        inference_network("onnx", network, tmp_path, "cpu")
    with pytest.raises(ConfigError, match="eager, compile, pt2, onnx, ts"):
        inference_network("tensorrt", network, tmp_path, "cpu")
    assert inference_network("eager", network, tmp_path, "cpu") is network
