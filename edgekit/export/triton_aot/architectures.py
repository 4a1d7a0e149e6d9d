"""What is fixed for a compute capability: its least PTX version, its limits, and what fits on a multiprocessor."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.errors import UnsupportedError

WARP = 32  # threads
REGISTERS = 65536  # of a multiprocessor
REGISTERS_ALLOCATED = 256  # at a time, for a warp
PARTITIONS = 4  # of a multiprocessor; a warp belongs to one, with its registers
SHARED_ALLOCATED = 128  # bytes at a time, for a block
SHARED_RESERVED = 1024  # bytes that the driver takes of every block


@dataclass(frozen=True)
class Architecture:
    """Limits of one compute capability.

    Attributes:
        ptx: the first PTX version that knows it, 74 for 7.4; an older one ends Triton's process instead of raising.
        threads, blocks: most of them resident on a multiprocessor.
        shared: bytes of shared memory of a multiprocessor.
    """

    ptx: int
    threads: int
    blocks: int
    shared: int

    @property
    def shared_of_a_block(self) -> int:
        """Bytes of shared memory that one block can ask for."""
        return self.shared - SHARED_RESERVED


# PTX: docs.nvidia.com/cuda/parallel-thread-execution, directive .target; from 90 on Triton takes the variant "a".
# Limits: github.com/NVIDIA/cccl, libcudacxx/include/cuda/__device/arch_traits.h. The units of allocation above are
# those of cuda_occupancy.h of CUDA 13.1, which Triton ships.
ARCHITECTURES = {
    80: Architecture(ptx=70, threads=2048, blocks=32, shared=164 * 1024),
    86: Architecture(ptx=71, threads=1536, blocks=16, shared=100 * 1024),
    87: Architecture(ptx=74, threads=1536, blocks=16, shared=164 * 1024),
    89: Architecture(ptx=78, threads=1536, blocks=24, shared=100 * 1024),
    90: Architecture(ptx=80, threads=2048, blocks=32, shared=228 * 1024),
    100: Architecture(ptx=86, threads=2048, blocks=32, shared=228 * 1024),
    110: Architecture(ptx=90, threads=1536, blocks=24, shared=228 * 1024),
    120: Architecture(ptx=87, threads=1536, blocks=24, shared=100 * 1024),
}


def architecture(capability: int) -> Architecture:
    """The row of a compute capability, 87 for 8.7; UnsupportedError where Triton has no INT8 for it."""
    if capability not in ARCHITECTURES:
        known = ", ".join(f"{number // 10}.{number % 10}" for number in ARCHITECTURES)
        what = f"the Triton kernels do not compile for compute capability {capability // 10}.{capability % 10}."
        raise UnsupportedError(what, fix=f"They do for {known}; older devices run the model through ONNX.")
    return ARCHITECTURES[capability]


@dataclass(frozen=True)
class Occupancy:
    """How much of a multiprocessor a kernel can fill, by its resources alone.

    Attributes:
        blocks: resident at once.
        share: of the threads that could be resident, from 0 to 1.
        limit: what admits no more of them: "registers", "shared memory", "threads" or "blocks".
    """

    blocks: int
    share: float
    limit: str


def occupancy(capability: int, threads: int, registers: int, shared: int) -> Occupancy:
    """Theoretical occupancy of blocks of ``threads``, ``registers`` per thread and ``shared`` bytes per block."""
    row = architecture(capability)
    warps = -(-threads // WARP)
    room = REGISTERS // PARTITIONS // _up(max(registers, 1) * WARP, REGISTERS_ALLOCATED) * PARTITIONS
    most = {
        "threads": row.threads // (warps * WARP),
        "blocks": row.blocks,
        "registers": room // warps,
        "shared memory": row.shared // _up(shared + SHARED_RESERVED, SHARED_ALLOCATED),
    }
    limit = min(most, key=lambda name: most[name])
    return Occupancy(most[limit], most[limit] * warps * WARP / row.threads, limit)


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
