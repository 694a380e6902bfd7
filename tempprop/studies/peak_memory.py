"""The most memory that something took, on the GPU or beside it."""

from contextlib import suppress
from pathlib import Path

import torch

OWN_PROCESS = Path("/proc/self")

RESET_PEAK = "5"
"""What Linux takes for "forget the peak", see proc_pid_clear_refs(5)."""


def forget_peak(device: torch.device) -> None:
    """Begin anew to watch for the most memory."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    # Where a container forbids it, the peak is that of the process since it began.
    with suppress(OSError):
        (OWN_PROCESS / "clear_refs").write_text(RESET_PEAK)


def peak_bytes(device: torch.device) -> int:
    """Give the most memory since `forget_peak`.

    Args:
        device: Of the model.

    Returns:
        Bytes that tensors took on a GPU; on the CPU those that were resident, of the whole process.
    """
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    lines = (OWN_PROCESS / "status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(kilobytes) * 1024
