"""What the paper reports on Set14, to stand beside the results of a sweep."""

from typing import NamedTuple

SOURCE = "Shvetsov et al., QuantNAS, IEEE Access 2024, table 1 (Set14, ×4, GBitOps for 32×32)"


class PaperPoint(NamedTuple):
    """A row of table 1; ``psnr`` in dB, on Y."""

    method: str
    model: str
    gbitops: float
    psnr: float


TABLE_1 = (
    PaperPoint("LSQ (8-U)", "ESPCN", 2.3, 27.26),
    PaperPoint("HWGQ (8-U)", "ESPCN", 2.3, 27.00),
    PaperPoint("LSQ (4-U)", "SRResNet", 23.3, 27.88),
    PaperPoint("HWGQ (4-U)", "SRResNet", 23.3, 27.42),
    PaperPoint("EdMIPS (4,8)", "SRResNet", 19.4, 27.92),
    PaperPoint("EdMIPS (4,8)", "RFDN", 20.7, 28.13),
    PaperPoint("QuantNAS (4,8)", "RFDN", 19.3, 28.24),
    PaperPoint("QuantNAS (4,8)", "RFDN w/o SAN", 16.8, 28.23),
    PaperPoint("QuantNAS (4,8)", "RFDN w/o ADQ", 17.2, 28.16),
    PaperPoint("QuantNAS (4,8)", "Basic", 2.6, 27.81),
    PaperPoint("QuantNAS (4,8)", "Basic w/o SAN", 4.1, 27.65),
    PaperPoint("QuantNAS (4,8)", "Basic w/o ADQ", 4.4, 27.65),
)
