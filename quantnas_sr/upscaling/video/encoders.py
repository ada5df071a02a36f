"""Codecs that are written: FFmpeg's encoders for them, their options, and the pixels that they take."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from quantnas_sr.errors import DataError, OptionError, unknown
from quantnas_sr.upscaling.video.colour import BT709, Samples
from quantnas_sr.upscaling.video.names import container_of
from quantnas_sr.upscaling.video.package import import_av


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg.

    Attributes:
        name: FFmpeg's.
        crf: the quality that is taken unless another is asked for; None if it has no such option.
        worst: the largest number that ``crf`` may be.
        options: the others.
    """

    name: str
    crf: Optional[int] = None
    worst: int = 51
    options: Dict[str, str] = field(default_factory=dict)


#: By the names of codecs, best encoder first. Fast presets: the network is what one waits for.
CODECS: Dict[str, Tuple[Encoder, ...]] = {
    "h264": (Encoder("libx264", 18, options={"preset": "superfast"}),),
    "hevc": (Encoder("libx265", 20, options={"preset": "superfast", "x265-params": "log-level=none"}),),
    "av1": (
        Encoder("libsvtav1", 26, 63, {"preset": "9"}),
        Encoder("libaom-av1", 26, 63, {"cpu-used": "8", "row-mt": "1"}),
    ),
    "vp9": (Encoder("libvpx-vp9", 26, 63, {"cpu-used": "5", "deadline": "good", "row-mt": "1", "b": "0"}),),
    "ffv1": (Encoder("ffv1", options={"level": "3", "slices": "4"}),),
    "prores": (Encoder("prores_ks"),),
}
#: Codecs that FFmpeg writes into a format of files, and players read out of it.
_HELD = {
    "mp4": ("h264", "hevc", "av1", "vp9"),
    "mov": ("h264", "hevc", "prores"),
    "matroska": tuple(CODECS),
    "webm": ("vp9", "av1"),
    "avi": ("h264", "ffv1"),
}
#: Codecs for a format of files, the one that is taken first: for 8 bits, and for more.
_PREFERRED = {
    "webm": (("vp9", "av1"), ("av1", "vp9")),
    # HEVC comes later: FFmpeg's writer of .mp4 and .mkv refuses some of its headers at random, see docs/upscale.md.
    "": (("h264", "av1", "hevc", "vp9", "ffv1"), ("av1", "hevc", "h264", "ffv1")),
}


@dataclass(frozen=True)
class Encoding:
    """What a user asks for.

    Attributes:
        codec: a key of `CODECS`; by default what suits the format of the file.
        crf: the quality, on the scale of the codec; lower is better.
    """

    codec: Optional[str] = None
    crf: Optional[int] = None

    def check(self) -> None:
        """Raise an OptionError unless the codec is known, and the quality is on its scale."""
        if self.codec is not None and self.codec not in CODECS:
            raise OptionError(f"--codec {unknown('codec', self.codec, CODECS)}")
        if self.codec is not None and self.crf is not None:
            self._check_crf(CODECS[self.codec][0])

    def _check_crf(self, encoder: Encoder) -> None:
        if encoder.crf is None:
            raise OptionError(f"--crf {self.crf}: {encoder.name} has no such quality")
        if self.crf > encoder.worst:
            raise OptionError(f"--crf {self.crf}: {encoder.name} allows 0 (best) to {encoder.worst}")

    def encoder(self, output: Path, bits: int) -> Encoder:
        """The encoder for a file.

        Args:
            output: the file.
            bits: of the samples.

        Raises:
            OptionError: the format of the file cannot hold the codec, or this FFmpeg cannot encode it.
        """
        container = container_of(output)
        wanted = _PREFERRED.get(container, _PREFERRED[""])[bits > 8] if self.codec is None else (self.codec,)
        held = [name for name in wanted if _holds(container, name)]
        if not held:
            allowed = [name for name in CODECS if _holds(container, name)]
            raise OptionError(f"{output}: {output.suffix} holds no {self.codec}. Allowed: {', '.join(allowed)}")
        there = [encoder for name in held for encoder in CODECS[name] if _format_names(encoder)]
        if not there:
            allowed = [name for name in CODECS if any(map(_format_names, CODECS[name]))]
            what = f"this FFmpeg does not encode {', '.join(held)}"
            raise OptionError(f"{output}: {what}. Allowed: {', '.join(allowed) or 'none'}")
        found = next((encoder for encoder in there if bits <= 8 or _deepest(encoder) > 8), there[0])
        if self.crf is not None:
            self._check_crf(found)
        return found

    def options(self, encoder: Encoder) -> Dict[str, str]:
        """The options of an encoder."""
        crf = encoder.crf if self.crf is None else self.crf
        return {**encoder.options, **({} if crf is None else {"crf": str(crf)})}


USUAL = Encoding()


def _holds(container: str, codec: str) -> bool:
    return codec in _HELD[container]


def _format_names(encoder: Encoder) -> List[str]:
    """The formats of pixels that an encoder takes; none if it is not there."""
    av = import_av()
    try:
        return [form.name for form in av.Codec(encoder.name, "w").video_formats or ()]
    except (av.FFmpegError, ValueError):
        return []


def _deepest(encoder: Encoder) -> int:
    return max((_bits(name) for name in _format_names(encoder) if name.startswith("yuv4")), default=8)


def _bits(name: str) -> int:
    return int(name.rpartition("p")[2][:-2]) if name.endswith("le") else 8


def pixels_for(encoder: Encoder, samples: Samples, width: int, height: int) -> Tuple[str, Samples]:
    """The format of pixels that is encoded, and what its samples stand for: those of the input as far as that can be.

    Args:
        encoder: which is to take them.
        samples: of the input. RGB becomes BT.709, gray gets neutral colours.
        width, height: of the output; odd ones need as many samples of colour as of luma.

    Raises:
        DataError: the encoder has no format for that.
    """
    across, down = (2, 2) if samples.family == "gray" else (samples.across, samples.down)
    across, down = (across, down) if (across, down) in ((2, 2), (2, 1), (1, 1)) else (2, 2)
    even = {(2, 2): width % 2 == height % 2 == 0, (2, 1): width % 2 == 0, (1, 1): True}
    kinds = {(2, 2): "420", (2, 1): "422", (1, 1): "444"}
    found = []
    for name in _format_names(encoder):
        for sides, kind in kinds.items():
            if name.startswith(f"yuv{kind}p") and even[sides]:
                found.append((_bits(name), sides, name))
    if not found:
        raise DataError(f"{encoder.name} does not encode {width}x{height} pixels")

    def distance(entry: Tuple[int, Tuple[int, int], str]) -> Tuple[Any, ...]:
        bits, sides, _ = entry
        return bits < samples.bits, abs(bits - samples.bits), sides != (across, down), sides != (2, 2)

    bits, (across, down), name = min(found, key=distance)
    matrix, full = (BT709, False) if samples.family == "rgb" else (samples.matrix, samples.full)
    return name, Samples(bits, "yuv", across, down, matrix, full)
