# SPDX-License-Identifier: Apache-2.0
"""Load the weights of a network before an engine runs, from a file whoever wrote it."""

from __future__ import annotations

from ignite.engine import Engine
from monai.handlers import CheckpointLoader

from ctan_networks.errors import ConfigError
from ctan_networks.weight_files import read_weights

__all__ = ["WeightsCheckpointLoader"]


class WeightsCheckpointLoader(CheckpointLoader):
    """MONAI's CheckpointLoader for the weights of one network.

    It takes wrappers' prefixes and whole checkpoints as :py:func:`ctan_networks.weight_files.read_weights` does, and
    its errors name the file.

    Args:
        load_path: the file.
        load_dict: one entry, any name to the network.

    Raises:
        ConfigError: when the engine starts and the file holds no weights, or those of another network.

    """

    def __call__(self, engine: Engine) -> None:
        (network,) = self.load_dict.values()
        weights = read_weights(self.load_path)
        try:
            network.load_state_dict(weights)
        except ConfigError as error:
            raise ConfigError(f"{self.load_path}: {error}") from None
        self.logger.info("weights of %s", self.load_path)
