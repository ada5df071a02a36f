"""Videos: what they have is kept, their colours are right, and what cannot be is one line and leaves nothing."""

import io
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Iterator, List

import numpy as np
import pytest
from project import ROOT

pytest.importorskip("av")

import av  # noqa: E402
from films import CHAPTERS, Read, noise, rotated, write_film  # noqa: E402
from PIL import Image  # noqa: E402

from quantnas_sr import cli  # noqa: E402
from quantnas_sr.deploy import runtimes  # noqa: E402
from quantnas_sr.deploy.memory import MemoryUse  # noqa: E402
from quantnas_sr.deploy.network import Network  # noqa: E402
from quantnas_sr.errors import QuantNASError  # noqa: E402
from quantnas_sr.images.units import BYTES  # noqa: E402
from quantnas_sr.upscaling.batch import Upscaler  # noqa: E402
from quantnas_sr.upscaling.tasks import UpscaleTask  # noqa: E402
from quantnas_sr.upscaling.video import frame_upscaler  # noqa: E402
from quantnas_sr.upscaling.video.colour import to_rgb  # noqa: E402
from quantnas_sr.upscaling.video.encoders import CODECS, Encoding  # noqa: E402
from quantnas_sr.upscaling.video.frame_upscaler import FrameUpscaler  # noqa: E402
from quantnas_sr.upscaling.video.frames import planes_of, samples_of  # noqa: E402
from quantnas_sr.upscaling.video.pipeline import ahead, behind  # noqa: E402
from quantnas_sr.upscaling.video.reading import Film  # noqa: E402
from quantnas_sr.upscaling.video.writing import FilmWriter  # noqa: E402
from quantnas_sr.upscaling.writers import OutputError  # noqa: E402

FRAMES = 5
LOSSLESS = Encoding("h264", 0)


class Nearest(Network):
    """Repeats every pixel, and keeps what it has seen."""

    scale, halo = 2, 0

    def __init__(self) -> None:
        self.seen: List[np.ndarray] = []

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.seen.append(x.copy())
        return x.repeat(2, 2).repeat(2, 3)


def upscale(source: Path, output: Path, network: Network = None, encoding: Encoding = LOSSLESS, **options) -> Read:
    """Upscale and read back."""
    broken = Upscaler(network or Nearest(), encoding=encoding, **options).files([UpscaleTask(source, output)])
    assert not broken, broken
    return Read(output)


def enlarged(planes: List[np.ndarray]) -> List[np.ndarray]:
    return [plane.repeat(2, 0).repeat(2, 1) for plane in planes]


def difference(found: List[np.ndarray], wanted: List[np.ndarray]) -> int:
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(found, wanted))


def flat(colours, matrix: int, full: bool) -> List[np.ndarray]:
    """Bars of red, green, blue and gray, by the equations of BT.601, BT.709 and BT.2020."""
    kr, kb = {1: (0.2126, 0.0722), 6: (0.299, 0.114), 9: (0.2627, 0.0593)}[matrix]
    planes = [np.zeros((16, 64), np.uint8), np.zeros((8, 32), np.uint8), np.zeros((8, 32), np.uint8)]
    for number, (r, g, b) in enumerate(colours):
        y = kr * r + (1 - kr - kb) * g + kb * b
        luma, reach, black = (255, 255, 0) if full else (219, 224, 16)
        values = y * luma + black, (b - y) / (2 - 2 * kb) * reach + 128, (r - y) / (2 - 2 * kr) * reach + 128
        for plane, value in zip(planes, values):
            wide = plane.shape[1] // 4
            plane[:, number * wide : (number + 1) * wide] = min(255, round(value))
    return planes


# Colours


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [1, 6, 9], ids=["BT.709", "BT.601", "BT.2020"])
def test_bars_have_their_colours_and_the_result_says_by_which_matrix(tmp_path, matrix, full):
    colours = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0.5)]
    planes = flat(colours, matrix, full)
    tags = (9, 16, 9, 1 + full) if matrix == 9 else (matrix, matrix, matrix, 1 + full)
    network = Nearest()
    result = upscale(write_film(tmp_path / "a.mp4", [planes] * 2, colours=tags), tmp_path / "b.mp4", network)
    for number, colour in enumerate(colours):
        assert np.abs(network.seen[0][0, :, 8, 16 * number + 7] - colour).max() < 0.01
    for plane, large, step in zip(planes, result.frames[0], (16, 8, 8)):
        middle = slice(step // 2 - 1, None, step)  # away from the edges between the bars
        assert np.abs(plane[4, middle].astype(int) - large[8, step - 1 :: 2 * step]).max() <= 1
    assert (result.primaries, result.transfer, result.matrix, result.range) == tags


def test_a_small_video_without_tags_is_taken_for_bt_601_and_the_large_one_says_so(tmp_path):
    network = Nearest()
    planes = flat([(1, 0, 0)] * 4, 6, False)
    result = upscale(write_film(tmp_path / "a.mp4", [planes]), tmp_path / "b.mp4", network)
    assert np.abs(network.seen[0][0, :, 8, 8] - (1, 0, 0)).max() < 0.01 and (result.matrix, result.range) == (6, 1)


@pytest.mark.parametrize(
    "name",
    [
        "yuv420p",
        "yuvj444p",
        "yuv411p",
        "nv12",
        "yuyv422",
        "p010le",
        "yuva420p",
        "yuv422p12le",
        "rgb24",
        "bgr0",
        "gbrp10le",
    ],
)
def test_every_format_of_pixels_becomes_the_same_colours(name):
    frame = av.VideoFrame.from_ndarray(np.full((16, 32, 3), (200, 100, 50), np.uint8), format="rgb24")
    if name != "rgb24":
        frame = frame.reformat(format=name)  # by BT.601, the range that the format has
    rgb = to_rgb(planes_of(frame), samples_of(frame))
    assert rgb.shape == (3, 16, 32) and np.abs(rgb - np.array((200, 100, 50)).reshape(3, 1, 1) / 255).max() < 0.012
    in_bytes = to_rgb(planes_of(frame), samples_of(frame), BYTES)
    assert in_bytes.dtype == BYTES and np.abs(in_bytes - 255 * rgb).max() <= 0.5001


@pytest.mark.parametrize("pixels, written", [("gbrp10le", "yuv444p10le"), ("gray", "yuvj420p"), ("yuv422p", "yuv422p")])
def test_planes_that_are_not_4_2_0_are_kept_as_far_as_the_encoder_takes_them(tmp_path, pixels, written):
    luma = noise(1, bits=10 if "10" in pixels else 8)[0][0]
    planes = [luma, *[np.full_like(luma, 125)[:, : 8 if "422" in pixels else 16]] * 2][: 1 if pixels == "gray" else 3]
    result = upscale(write_film(tmp_path / "a.mkv", [planes], "ffv1", pixels), tmp_path / "b.mp4")
    assert result.pixels == written and result.size == (32, 32)
    if pixels != "gbrp10le":
        assert difference(result.frames[0][:1], enlarged(planes[:1])) <= 1


def test_odd_sides_are_kept(tmp_path):
    class Triple(Nearest):
        scale = 3

        def __call__(self, x):
            return x.repeat(3, 2).repeat(3, 3)

    planes = [np.full((17, 19), 90, np.uint8)] * 3
    result = upscale(write_film(tmp_path / "a.mkv", [planes], "ffv1", "yuv444p"), tmp_path / "b.mp4", Triple())
    assert result.size == (51, 57) and difference(result.frames[0], [np.full((51, 57), 90)] * 3) <= 1


def test_ten_bits_stay_ten_bits(tmp_path):
    planes = [np.tile(np.arange(16, dtype=np.uint16) + 400, (16, 1)), *[np.full((8, 8), 512, np.uint16)] * 2]
    source = write_film(tmp_path / "a.mkv", [planes] * 2, "ffv1", "yuv420p10le", colours=(9, 16, 9, 1))
    result = upscale(source, tmp_path / "b.mkv", encoding=Encoding("ffv1"))
    assert result.pixels == "yuv420p10le" and (result.frames[0][0] == enlarged(planes)[0]).all()
    assert (result.primaries, result.transfer, result.matrix, result.range) == (9, 16, 9, 1)
    result = upscale(source, tmp_path / "b.mp4", encoding=Encoding())
    assert ("av1" in result.codec or "dav1d" in result.codec) and (result.pixels, result.transfer) == (
        "yuv420p10le",
        16,
    )
    tiled = upscale(source, tmp_path / "c.mkv", encoding=Encoding("ffv1"), tile=9)
    assert (tiled.frames[1][0] == enlarged(planes)[0]).all()


@pytest.mark.parametrize(
    "pixels, line", [("yuva420p", "transparency"), ("yuv420p12le", "12 bits (10 are written)"), ("yuv420p", None)]
)
def test_what_pictures_lose_is_named(tmp_path, pixels, line, capfd):
    [[luma, *colours]] = noise(1, bits=12 if "12" in pixels else 8)
    planes = [luma, *colours, *([luma] if pixels == "yuva420p" else [])]
    upscale(write_film(tmp_path / "a.mkv", [planes], "ffv1", pixels), tmp_path / "b.mkv")
    assert capfd.readouterr().err == (f"{tmp_path / 'b.mkv'}: not kept: {line}\n" if line else "")


def test_interlaced_frames_are_said_to_be(tmp_path, capfd):
    options = {"crf": "0", "x264-params": "interlaced=1", "flags": "+ildct+ilme"}
    upscale(write_film(tmp_path / "a.mp4", noise(2, 64), options=options), tmp_path / "b.mp4")
    assert "a.mp4: is interlaced" in (err := capfd.readouterr().err) and err.count("\n") == 1


# What is kept


def rich(path: Path, **more) -> Path:
    metadata = {"title": "Holiday", "artist": "Ä. Author"}
    return write_film(path, noise(FRAMES), metadata=metadata, chapters=CHAPTERS, **{"sound": "aac", **more})


@pytest.mark.parametrize("source, target", [(".mp4", ".mp4"), (".mkv", ".mkv"), (".mp4", ".mkv"), (".mov", ".mp4")])
def test_sound_is_copied_byte_for_byte_and_all_that_is_said_of_it(tmp_path, source, target, capfd):
    before = Read(rich(tmp_path / f"a{source}"))
    after = upscale(tmp_path / f"a{source}", tmp_path / f"b{target}")
    assert [data for _, data in after.packets["audio"]] == [data for _, data in before.packets["audio"]]
    times = [np.array([time for time, _ in read.packets["audio"]] + read.stamps) for read in (before, after)]
    moved = times[1] - times[0]  # where the sound begins before zero, Matroska's zero is there
    assert np.abs(moved - moved[0]).max() < 0.0011 and abs(moved[0]) < 0.065 and len(moved) > 8 + FRAMES
    assert ("audio", "eng") in after.streams and after.size == (32, 32)
    for small, large in zip(before.frames, after.frames):
        assert difference(enlarged(small)[:1], large[:1]) <= 1 and difference(enlarged(small), large) <= 4
    there = {key.lower(): value for key, value in after.metadata.items()}
    assert (there["title"], there["artist"]) == ("Holiday", "Ä. Author")
    chapters = [(c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]) for c in after.chapters]
    wanted = [(0, Fraction(1, 5), {"title": "Begin"}), (Fraction(1, 5), Fraction(1, 2), {"title": "End"})]
    assert chapters == (wanted if CHAPTERS else [])
    assert not capfd.readouterr().err


def test_a_broken_packet_of_sound_costs_no_more_than_itself(tmp_path, monkeypatch, capfd):
    source, seen = rich(tmp_path / "a.mp4"), []

    def third_is_broken(self, packet):
        seen.append(packet)
        if len(seen) == 3:
            packet.dts = packet.pts + 10**6  # decoded after it is heard
        return packet

    monkeypatch.setattr(Film, "_shifted", third_is_broken)
    after = upscale(source, tmp_path / "b.mp4")
    assert len(after.packets["audio"]) == len(Read(source).packets["audio"]) - 1 and len(after.frames) == FRAMES
    assert capfd.readouterr().err.endswith("not kept: 1 broken packets of other streams\n")


def test_subtitles_are_copied_where_they_can_be_and_named_where_not(tmp_path, capfd):
    before = Read(rich(tmp_path / "a.mkv", subtitles=True))
    assert upscale(tmp_path / "a.mkv", tmp_path / "b.mkv").packets == before.packets
    assert [data.decode() for _, data in before.packets["subtitle"]] == ["Hello", "Wörld"]
    assert not capfd.readouterr().err
    assert "subtitle" not in upscale(tmp_path / "a.mkv", tmp_path / "b.mp4").packets
    line = f"{tmp_path / 'b.mp4'}: not kept: subtitles (srt); .mkv holds it\n"
    assert capfd.readouterr().err == line
    result = upscale(tmp_path / "a.mkv", tmp_path / "b.webm", encoding=Encoding())
    assert "sound (aac, eng), subtitles (srt)" in capfd.readouterr().err and result.codec in ("vp9", "libvpx-vp9")


@pytest.mark.skipif(not hasattr(av.container.OutputContainer, "add_mux_stream"), reason="this PyAV writes no mov_text")
def test_subtitles_of_an_mp4_stay(tmp_path):
    def german(output):
        stream = output.add_mux_stream("mov_text")
        stream.metadata["language"] = "ger"
        packet = av.Packet(b"\0\5Hallo")
        packet.pts, packet.dts, packet.duration = 100, 100, 200
        packet.time_base, packet.stream = Fraction(1, 1000), stream
        return packet

    remuxed(rich(tmp_path / "a.mp4"), tmp_path / "s.mp4", german)
    after = upscale(tmp_path / "s.mp4", tmp_path / "b.mp4")
    assert (0.1, b"\0\5Hallo") in after.packets["subtitle"] and ("subtitle", "ger") in after.streams


def remuxed(source: Path, target: Path, add) -> Path:
    """The streams of a video in another file, and what ``add`` adds: it returns a packet or None."""
    with av.open(str(source)) as opened, av.open(str(target), "w") as output:
        taken = [stream for stream in opened.streams if stream.type != "data"]  # which repeat chapters
        streams = {stream.index: output.add_stream_from_template(stream) for stream in taken}
        more = add(output)
        output.start_encoding()
        if more is not None:
            output.mux(more)
        for packet in opened.demux():
            if packet.size and packet.stream.index in streams:
                packet.stream = streams[packet.stream.index]
                output.mux(packet)
    return target


def test_the_cover_of_an_mp4_stays(tmp_path, capfd):
    picture = io.BytesIO()
    Image.new("RGB", (16, 16), "red").save(picture, "JPEG")

    def cover(output):
        stream = output.add_stream("mjpeg", 1)
        stream.width = stream.height = 16
        stream.pix_fmt, stream.disposition = "yuvj420p", 1 << 10
        packet = av.Packet(picture.getvalue())
        packet.pts = packet.dts = 0
        packet.time_base, packet.stream = Fraction(1, 25), stream
        return packet

    source = remuxed(rich(tmp_path / "a.mp4"), tmp_path / "c.mp4", cover)
    after = upscale(source, tmp_path / "b.mp4")
    assert after.packets["video"] == [(0, picture.getvalue())] and len(after.frames) == FRAMES
    assert not capfd.readouterr().err
    upscale(source, tmp_path / "b.mkv")
    assert capfd.readouterr().err == f"{tmp_path / 'b.mkv'}: not kept: cover (mjpeg)\n"


@pytest.mark.skipif(not hasattr(av.container.OutputContainer, "add_attachment"), reason="this PyAV has no attachments")
def test_attached_fonts_stay_in_mkv(tmp_path, capfd):
    def font(output):
        output.add_attachment("font.ttf", "font/ttf", b"abc")

    source = remuxed(rich(tmp_path / "a.mkv"), tmp_path / "f.mkv", font)
    upscale(source, tmp_path / "b.mkv")
    with av.open(str(tmp_path / "b.mkv")) as opened:
        [attached] = [stream for stream in opened.streams if stream.type == "attachment"]
        assert attached.data == b"abc" and attached.metadata["filename"] == "font.ttf"
    assert not capfd.readouterr().err
    upscale(source, tmp_path / "b.mp4")
    assert "not kept: attachment (font.ttf); .mkv holds it" in capfd.readouterr().err


@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_uneven_time_stamps_are_kept(tmp_path, target, capfd):
    stamps = [0, 33, 66, 100, 300, 500, 501, 900]
    write_film(tmp_path / "a.mp4", noise(len(stamps)), stamps=stamps)
    assert upscale(tmp_path / "a.mp4", tmp_path / f"b{target}").stamps == [stamp / 1000 for stamp in stamps]
    assert not capfd.readouterr().err


def test_avi_says_that_it_has_no_uneven_time_stamps(tmp_path, capfd):
    write_film(tmp_path / "a.mp4", noise(4), stamps=[0, 33, 66, 500])
    assert len(upscale(tmp_path / "a.mp4", tmp_path / "b.avi").stamps) == 4
    assert "uneven time stamps" in capfd.readouterr().err


@pytest.mark.parametrize("target", [".mp4", ".mkv"])
def test_sound_and_pictures_of_a_stream_that_starts_late_stay_together(tmp_path, target):
    source = write_film(tmp_path / "a.ts", noise(FRAMES), sound="aac", stamps=[9000 + 100 * n for n in range(FRAMES)])
    before, after = Read(source), upscale(source, tmp_path / f"b{target}")
    assert np.allclose(np.diff(after.stamps), 0.1) and len(after.stamps) == FRAMES
    apart = [read.stamps[0] - read.packets["audio"][0][0] for read in (before, after)]
    assert abs(apart[0] - apart[1]) < 0.002 and min(after.stamps[0], after.packets["audio"][0][0]) < 0.1


@pytest.mark.parametrize("target", [".mp4", ".mkv", ".mov"])
def test_the_shape_of_pixels_is_kept(tmp_path, target):
    source = write_film(tmp_path / "a.mp4", noise(2), aspect=Fraction(16, 15))
    assert upscale(source, tmp_path / f"b{target}").aspect == Fraction(16, 15)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_film_that_was_taken_upright_is_upright(tmp_path, turns):
    planes = [np.zeros((16, 32), np.uint8), *[np.full((8, 16), 128, np.uint8)] * 2]
    planes[0][:8, :16], planes[0][8:, 16:] = 200, 100
    source = rotated(write_film(tmp_path / "a.mp4", [planes] * 2, aspect=Fraction(16, 15)), turns)
    result = upscale(source, tmp_path / "b.mp4")
    upright = np.rot90(enlarged(planes)[0], -turns)
    assert result.rotation == 0 and result.size == upright.shape
    inside = np.abs(result.frames[0][0].astype(int) - upright)[2:-2, 2:-2]
    assert inside.max() <= 17  # black below 16 becomes 16
    assert result.aspect == (Fraction(15, 16) if turns % 2 else Fraction(16, 15))


@pytest.mark.parametrize("name", ["h264", "av1", "vp9", "ffv1"])
def test_codecs_go_in_and_out(tmp_path, name, capfd):
    there = [encoder.name for encoder in CODECS[name] if encoder.name in av.codecs_available]
    if not there:
        pytest.skip(f"this FFmpeg encodes no {name}")
    frames = noise(3, 64)
    source = write_film(tmp_path / "a.mkv", frames, there[0], options={**CODECS[name][0].options, "crf": "5"})
    result = upscale(source, tmp_path / "b.mkv", encoding=Encoding(name))
    assert len(result.frames) == 3 and name.replace("av1", "dav1d")[:4] in result.codec
    for small, large in zip(frames, result.frames):
        assert np.abs(enlarged(small)[0].astype(int) - large[0]).mean() < 3
    assert not capfd.readouterr().err


# Options, and what cannot be


def test_codec_and_quality_are_checked_before_anything_is_opened(tmp_path, capfd):
    write_film(tmp_path / "a.mp4", noise(1))
    for options, line in [
        (("--codec", "h265"), "unknown codec 'h265', did you mean 'h264'? Allowed: av1, ffv1, h264, hevc, prores, vp9"),
        (("--codec", "h264", "--crf", "52"), "--crf 52: libx264 allows 0 (best) to 51"),
        (("--codec", "ffv1", "--crf", "5"), "--crf 5: ffv1 has no such quality"),
    ]:
        assert cli.main(["upscale", "absent.onnx", str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), *options]) == 1
        assert line in (err := capfd.readouterr().err) and err.count("\n") == 1


def test_a_codec_that_the_file_cannot_hold_is_one_line(tmp_path):
    write_film(tmp_path / "a.mp4", noise(1))
    line = fails(tmp_path / "a.mp4", tmp_path / "b.webm", Encoding("h264"))
    assert line.endswith("b.webm: .webm holds no h264. Allowed: av1, vp9")


def fails(source: Path, output: Path, encoding: Encoding = LOSSLESS, **options) -> str:
    """The one line, after which nothing is there that was not there before."""
    before = sorted(output.parent.iterdir())
    [line] = Upscaler(Nearest(), encoding=encoding, **options).files([UpscaleTask(source, output)])
    assert sorted(output.parent.iterdir()) == before and "\n" not in line
    return line


def make(path: Path, kind: str) -> Path:
    """A video that is none, or a broken one."""
    whole = path.with_name("whole" + path.suffix)
    if kind == "empty":
        path.touch()
    elif kind == "no video":
        path.write_bytes(b"no video" * 100)
    elif kind == "image":
        Image.new("RGB", (16, 16)).save(path, "PNG")
    elif kind == "playlist":
        path.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/etc/passwd\n", encoding="utf-8")
    elif kind == "sound":
        with av.open(str(path), "w") as output:
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            stream = output.add_stream("aac", 16000)
            frame.sample_rate, frame.pts = 16000, 0
            output.mux(stream.encode(frame)), output.mux(stream.encode(None))
    elif kind == "no frame":
        write_film(path, noise(1))
        data = path.read_bytes()
        start = data.index(b"mdat") + 4
        path.write_bytes(data[:start] + bytes(data.index(b"moov") - 4 - start) + data[data.index(b"moov") - 4 :])
    elif kind == "cut off":
        data = write_film(whole, noise(FRAMES)).read_bytes()
        path.write_bytes(data[: data.index(b"moov") - 4])
        whole.unlink()
    elif kind == "huge":
        data = bytearray(write_film(path, noise(1), "ffv1", rate=25, time_base=Fraction(1, 25)).read_bytes())
        place = data.index(b"strf") + 12
        data[place : place + 8] = b"\xff\xff\0\0" * 2
        path.write_bytes(data)
    elif kind == "unknown codec":
        path.write_bytes(write_film(path, noise(1)).read_bytes().replace(b"avc1", b"xyz1").replace(b"avcC", b"xyzC"))
    elif kind == "two sizes":
        parts = [write_film(path.with_name(f"{side}.ts"), noise(20, side)) for side in (16, 32)]
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        [part.unlink() for part in parts]
    return path


@pytest.mark.parametrize(
    "name, kind, line",
    [
        ("a.mp4", "absent", "a.mp4: no such file"),
        ("a.mp4", "empty", "a.mp4: the file is empty"),
        ("a.mp4", "no video", "a.mp4: not a video that can be decoded"),
        ("a.mp4", "playlist", "a.mp4: not a video that can be decoded"),
        ("a.mp4", "cut off", "a.mp4: not a video that can be decoded, or cut off"),
        ("a.mp4", "image", "a.mp4: is an image, though its suffix is that of a video"),
        ("a.mp4", "sound", "a.mp4: has no video, only audio"),
        ("a.mp4", "no frame", "a.mp4: has no frame that can be decoded"),
        ("a.avi", "huge", "a.avi: its frames have no size, or more pixels than the 178956970 that --max-pixels allows"),
        ("a.mp4", "unknown codec", "a.mp4: its codec is unknown to this FFmpeg"),
        ("a.ts", "two sizes", "a.ts: a frame has 32x32 pixels, the frames before it 16x16"),
    ],
)
def test_a_broken_video_is_one_line(tmp_path, name, kind, line, capfd):
    assert line in fails(make(tmp_path / name, kind), tmp_path / "b.mp4")
    assert not capfd.readouterr().err


def test_a_video_that_was_cut_off_is_upscaled_as_far_as_it_goes_and_said_to_be(tmp_path, capfd):
    data = write_film(tmp_path / "a.mkv", noise(40)).read_bytes()
    (tmp_path / "a.mkv").write_bytes(data[: len(data) * 2 // 3])
    frames = upscale(tmp_path / "a.mkv", tmp_path / "b.mp4").frames
    assert 5 < len(frames) < 35
    err = capfd.readouterr().err
    assert "a.mkv: ends " in err and "of 4.0 seconds early; was it cut off?" in err and err.count("\n") == 1


def test_more_pixels_than_are_allowed_are_refused(tmp_path):
    write_film(tmp_path / "a.mp4", noise(1))
    assert "a.mp4: 16x16 pixels are more than the 255 that" in fails(
        tmp_path / "a.mp4", tmp_path / "b.mp4", most_pixels=255
    )


@pytest.mark.parametrize(
    "output, line",
    [
        ("a.mp4", "is the input itself"),
        ("b.png", "unknown suffix of a video '.png'. Allowed: .avi, .m4v, .mkv, .mov, .mp4, .webm"),
        ("a.mp4/b.mp4", "cannot be written"),
    ],
)
def test_an_output_that_cannot_be_is_one_line(tmp_path, output, line, capfd, monkeypatch):
    write_film(tmp_path / "a.mp4", noise(1))
    monkeypatch.setattr(runtimes, "open_network", lambda *_: Nearest())
    assert cli.main(["upscale", "net.onnx", str(tmp_path / "a.mp4"), str(tmp_path / output)]) == 1
    out, err = capfd.readouterr()
    assert not out and err.count("\n") == 1 and line in err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_pyav_is_named_where_it_is_missing(tmp_path, monkeypatch):
    from quantnas_sr.upscaling.video import package

    write_film(tmp_path / "a.mp4", noise(1))
    monkeypatch.setattr(package.importlib.util, "find_spec", lambda name: None)
    assert "a video needs PyAV (av): pip install 'quantnas_sr[run]'" in fails(tmp_path / "a.mp4", tmp_path / "b.mp4")


def test_a_network_that_looks_at_the_whole_frame_is_said_to_flicker(tmp_path, capfd):
    network = Nearest()
    network.halo = None
    upscale(write_film(tmp_path / "a.mp4", noise(1)), tmp_path / "b.mp4", network)
    assert capfd.readouterr().err.startswith("the video may flicker: ")


# Interrupted


def after(frames: int, happens) -> Network:
    """A network with which something happens at a frame."""

    class Interrupted(Nearest):
        def __call__(self, x):
            if len(self.seen) == frames:
                happens()
            return super().__call__(x)

    return Interrupted()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupted_film_leaves_nothing(tmp_path, kind):
    source = write_film(tmp_path / "a.mp4", noise(60), sound="aac")

    def stop():
        raise kind("stop")

    with pytest.raises(kind) if kind is not MemoryError else nullcontext():
        [line] = Upscaler(after(40, stop)).files([UpscaleTask(source, tmp_path / "b.mp4")])
        assert line == f"{source}: the network fails on a tile of 16x16 pixels (stop)"
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_sigterm_leaves_nothing_and_an_older_film_as_it_was(tmp_path, monkeypatch):
    source = write_film(tmp_path / "a.mp4", noise(60))
    (tmp_path / "b.mp4").write_bytes(b"an older one")
    network = after(40, lambda: os.kill(os.getpid(), signal.SIGTERM))
    monkeypatch.setattr(runtimes, "open_network", lambda *_: network)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit):
            cli.main(["upscale", "net.onnx", str(source), str(tmp_path / "b.mp4")])
    finally:
        signal.signal(signal.SIGTERM, before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    assert (tmp_path / "b.mp4").read_bytes() == b"an older one"


KILLED = """
import os, signal, sys
from pathlib import Path
from quantnas_sr.deploy.network import Network
from quantnas_sr.upscaling.batch import Upscaler
from quantnas_sr.upscaling.tasks import UpscaleTask

class Killed(Network):
    scale, halo, frames = 2, 0, 0
    def __call__(self, x):
        self.frames += 1
        if self.frames == 80:
            os.kill(os.getpid(), signal.SIGKILL)
        return x.repeat(2, 2).repeat(2, 3)

Upscaler(Killed()).files([UpscaleTask(Path("a.mp4"), Path("b.mp4"))])
"""


def test_a_film_whose_process_is_killed_is_not_there(tmp_path):
    write_film(tmp_path / "a.mp4", noise(100))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=tmp_path, env=environment, stderr=subprocess.PIPE)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (tmp_path / "b.mp4").exists()


def test_a_disk_that_takes_no_more_leaves_nothing(tmp_path, monkeypatch, capsys):
    resource = pytest.importorskip("resource")
    source = write_film(tmp_path / "a.mp4", noise(20), sound="aac")
    monkeypatch.setattr(runtimes, "open_network", lambda *_: Nearest())
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        assert cli.main(["upscale", "net.onnx", str(source), str(tmp_path / "b.mp4")]) == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "b.mp4: cannot be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


def test_what_cannot_be_read_back_is_not_kept(tmp_path, monkeypatch):
    write_film(tmp_path / "a.mp4", noise(FRAMES))
    monkeypatch.setattr(FilmWriter, "finish", lambda self: None)
    with pytest.raises(OutputError, match="b.mp4: cannot be written .what was written cannot be read back"):
        upscale(tmp_path / "a.mp4", tmp_path / "b.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]


# At the same time


def test_decoding_network_and_encoding_overlap_and_no_more_than_a_few_frames_wait():
    made, done = [], []

    def items():
        for number in range(50):
            made.append(number)
            yield number

    def consume(number):
        done.append(number)

    with ahead(items(), 2) as numbers, behind(consume, 2) as give:
        for number in numbers:
            deadline = time.monotonic() + 5
            while (len(made) < min(50, number + 3) or len(done) < number) and time.monotonic() < deadline:
                time.sleep(0.001)  # as the network does, while the others work
            assert number + 3 <= len(made) <= number + 5 or number > 45
            give(number)
    assert done == list(range(50))


def test_an_error_of_a_thread_comes_out_and_stops_the_other():
    def items():
        yield 1
        raise QuantNASError("of the decoder")

    with pytest.raises(QuantNASError, match="of the decoder"), ahead(items(), 2) as numbers:
        list(numbers)

    def consume(number):
        raise QuantNASError("of the encoder")

    endless = iter(int, 1)
    with pytest.raises(QuantNASError, match="of the encoder"), ahead(endless, 2) as numbers, behind(consume, 2) as give:
        for number in numbers:
            give(number)


class Counting(Nearest):
    """Knows the largest tile."""

    largest = 0

    def __call__(self, x: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, x.shape[2] * x.shape[3])
        return x.repeat(2, 2).repeat(2, 3)


def test_tiles_of_frames_are_the_whole(tmp_path):
    source, network = write_film(tmp_path / "a.mp4", noise(2, 32)), Counting()
    whole = upscale(source, tmp_path / "b.mp4")
    tiled = upscale(source, tmp_path / "c.mp4", network, tile=10)
    assert network.largest <= 100 and difference(whole.frames[1], tiled.frames[1]) <= 1


@pytest.mark.parametrize("memory, kind, largest", [(9, "f", 25600), (6, "u", 25600), (4, "u", 16000), (3, "u", 6000)])
def test_frames_that_wait_count_towards_the_memory(memory, kind, largest):
    """A frame takes 0.3 MB, its upscaled one 1.2 MB in float and 0.3 MB in integers; the network 2.56 MB."""
    network = Counting()
    frames = FrameUpscaler(network, lambda: MemoryUse(0, 100), None, memory * 10**6, "")
    with frames.ready(160 * 160):
        result = frames(np.full((1, 3, 160, 160), 0.5, np.float32), 8)
    assert result.dtype.kind == kind and largest // 4 < network.largest <= largest


class AtOnce(Counting):
    """Takes several frames at once; the later of two neighbours ends first."""

    most = running = 0

    @contextmanager
    def at_once(self, calls: int) -> Iterator[int]:
        self.ready = calls
        yield calls

    def __call__(self, x: np.ndarray) -> np.ndarray:
        with self.lock:
            self.running += 1
            self.most = max(self.most, self.running)
            late = self.running % 2
        time.sleep(0.05 * late)
        with self.lock:
            self.running -= 1
        return super().__call__(x)

    lock = threading.Lock()


def test_frames_that_are_upscaled_at_once_keep_their_order(tmp_path, monkeypatch):
    monkeypatch.setattr(frame_upscaler, "available_cpus", lambda: 3)
    source, network = write_film(tmp_path / "a.mp4", noise(12, 32)), AtOnce()
    found = upscale(source, tmp_path / "b.mp4", network)
    assert network.ready == 3 and 1 < network.most <= 3
    assert found.frames and all(
        map((0).__eq__, map(difference, found.frames, upscale(source, tmp_path / "c.mp4").frames))
    )


@pytest.mark.parametrize("memory, count", [(40, 4), (20, 3), (17, 2), (9, 1), (3, 1)])
def test_as_many_frames_go_at_once_as_memory_allows(memory, count, monkeypatch):
    """A frame takes 0.3 MB, its upscaled one 1.2 MB, the network 2.56 MB for each."""
    monkeypatch.setattr(frame_upscaler, "available_cpus", lambda: 4)
    frames = FrameUpscaler(AtOnce(), lambda: MemoryUse(0, 100), None, memory * 10**6, "")
    with frames.ready(160 * 160) as ready:
        assert ready == count
    with FrameUpscaler(AtOnce(), lambda: MemoryUse(0, 100), 20, 10**9, "").ready(160 * 160) as ready:
        assert ready == 1, "tiles that the user asks for, one frame at a time"
