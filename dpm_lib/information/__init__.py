"""Information from estimation: the MMSE, and the I-MMSE relation."""

from dpm_lib.information.i_mmse import entropy, entropy_bound, mutual_information

__all__ = ["entropy", "entropy_bound", "mutual_information"]
