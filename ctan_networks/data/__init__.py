# STAND-IN written by the lead to test the integration: OVERWRITE THIS FILE with the real one.
from ctan_networks.data.cached_dataset import CachedDataset
from ctan_networks.data.case_reader import CaseReader
from ctan_networks.data.epoch_sampler import EpochSampler
from ctan_networks.data.openkbp_list import inference_list, openkbp_list
from ctan_networks.data.readable_cases import ReadableCases
