"""What a video has beside its pictures, and what of it the format of the output can hold."""

import io
from contextlib import suppress
from fractions import Fraction
from typing import Any, Dict, List, Optional, Tuple

from quantnas_sr.upscaling.video.package import import_av
from quantnas_sr.upscaling.video.reading import is_cover

#: What a stream is called.
_WORDS = {"audio": "sound", "subtitle": "subtitles", "data": "data", "attachment": "attachment", "video": "video"}
#: Metadata that say how the input was written, and are said anew of the output.
_OF_THE_FILE = (
    *("major_brand", "minor_version", "compatible_brands", "encoder", "duration", "bps", "number_of_frames"),
    *("number_of_bytes", "handler_name", "vendor_id", "software"),
)
#: Streams of .mov and .mp4 that repeat chapters and time codes, which are kept otherwise.
_REPEATED = ("", "bin_data", "text", "tmcd")


def sorted_streams(source: Any, video: int, container: str) -> Tuple[List[Any], List[str]]:
    """The streams whose packets are copied.

    Args:
        source: the open input.
        video: the index of the stream that is upscaled.
        container: FFmpeg's name of the format of the output.

    Returns:
        These streams, and the names of those that the format cannot hold.
    """
    kept, left_out, in_mov = [], [], "mov" in source.format.name.split(",")
    for stream in source.streams:
        if stream.index == video or (in_mov and stream.type == "data" and _codec_of(stream) in _REPEATED):
            continue
        if stream.type in _WORDS and (stream.type != "video" or is_cover(stream)) and _holds(container, stream):
            kept.append(stream)
        else:
            left_out.append(_name(stream))
    return kept, left_out


def _holds(container: str, stream: Any) -> bool:
    """Whether a format of files can hold a stream: asked by writing a file with it to memory."""
    av = import_av()
    if stream.type == "video" and container not in ("mp4", "mov"):
        return False  # Matroska has covers as attachments
    trial = av.open(io.BytesIO(), "w", format=container)
    try:
        copied(trial, stream)
        trial.start_encoding()
    except (av.FFmpegError, ValueError, TypeError, AttributeError, NotImplementedError):
        return False
    finally:
        with suppress(Exception):
            trial.close()
    return True


def copied(output: Any, stream: Any) -> Any:
    """A stream of an output whose packets will be those of an input's stream."""
    made = output.add_stream_from_template(stream)
    made.time_base = stream.time_base
    made.metadata.update(described(stream.metadata))
    made.disposition = stream.disposition.value
    return made


def described(metadata: Dict[str, str]) -> Dict[str, str]:
    """The metadata that are true of the upscaled video, too."""
    return {
        key: value
        for key, value in metadata.items()
        if key.lower().partition("-")[0] not in _OF_THE_FILE and not key.startswith("_STATISTICS")
    }


def _codec_of(stream: Any) -> str:
    context = stream.codec_context
    return getattr(context, "name", "") or getattr(stream, "name", "") or ""


def _name(stream: Any) -> str:
    """A stream in words, such as ``sound (aac, eng)``."""
    word = "cover" if stream.type == "video" and is_cover(stream) else _WORDS.get(stream.type, str(stream.type))
    facts = [_codec_of(stream), stream.metadata.get("language", ""), stream.metadata.get("filename", "")]
    facts = [fact for fact in dict.fromkeys(facts) if fact and fact != "und"]
    return f"{word} ({', '.join(facts)})" if facts else word


def lost_facts(source: Any, written: Any, aspect: Optional[Fraction]) -> List[str]:
    """What of an input is not found in the open output: metadata, chapters, the shape of pixels; in words.

    Args:
        source, written: the two containers of PyAV.
        aspect: width over height of a pixel of the input.
    """
    there = {key.lower() for key in written.metadata}
    lost = [key for key in described(source.metadata) if key.lower() not in there]
    found = [f"metadata ({', '.join(sorted(lost))})"] if lost else []
    if hasattr(source, "chapters") and len(source.chapters()) > len(written.chapters()):
        found.append("chapters")
    if (aspect or 1) != (written.streams.video[0].sample_aspect_ratio or 1):
        found.append(f"pixels of {aspect.numerator}:{aspect.denominator}")
    return found
