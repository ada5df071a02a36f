"""Videos: every frame is upscaled, and what cannot be is one line and leaves nothing."""

import importlib
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from upscaling import checkpoint, derived, enlarged, nearest

from quantnas_sr import cli
from quantnas_sr.upscaling import video as video_module
from quantnas_sr.upscaling.video import CODECS

FRAMES = 5


@pytest.fixture
def network(tmp_path) -> Path:
    return checkpoint(tmp_path / "net.pth", nearest())


@pytest.fixture
def video(tmp_path) -> Path:
    writer = cv2.VideoWriter(str(tmp_path / "video.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 12.5, (48, 32))
    for number in range(FRAMES):
        writer.write(np.full((32, 48, 3), (40 * number, 90, 200 - 30 * number), np.uint8))
    writer.release()
    return tmp_path / "video.mp4"


def frames(path: Path) -> list:
    video, found = cv2.VideoCapture(str(path)), []
    while True:
        there, frame = video.read()
        if not there:
            return found
        found.append(frame)


def run(*arguments: object) -> int:
    return cli.main(["upscale", *map(str, arguments)])


@pytest.mark.parametrize("suffix", CODECS)
def test_every_frame_is_upscaled_and_the_rate_kept(tmp_path, network, video, suffix, capfd):
    output = tmp_path / f"out{suffix}"
    assert run(network, video, output) == 0
    result = frames(output)
    assert len(result) == FRAMES and cv2.VideoCapture(str(output)).get(cv2.CAP_PROP_FPS) == 12.5
    for small, large in zip(frames(video), result):
        assert np.abs(enlarged(small).astype(int) - large).max() < 12
    out, err = capfd.readouterr()
    assert out == f"wrote {output}\n" and err.count("\n") == 1 and "has no sound" in err


def test_a_network_that_looks_at_the_whole_frame_is_said_to_flicker(tmp_path, video, capfd):
    assert run(checkpoint(tmp_path / "adq.pth", derived(norm="adq")), video, tmp_path / "out.mp4") == 0
    assert capfd.readouterr().err.startswith("the video may flicker: ")


def test_nothing_is_set_before_a_video_is_opened(monkeypatch):
    monkeypatch.delenv("OPENCV_FFMPEG_LOGLEVEL", raising=False)
    importlib.reload(video_module)
    assert "OPENCV_FFMPEG_LOGLEVEL" not in os.environ


@pytest.mark.parametrize(
    "data, output, line",
    [
        (b"", "out.mp4", "video.mp4: not a video that can be decoded"),
        (b"no video" * 100, "out.mp4", "video.mp4: not a video that can be decoded"),
        (None, "video.mp4", "is the input itself"),
        (None, "out.png", "unknown suffix of a video '.png'. Allowed: .avi, .mp4"),
        (None, "net.pth/out.mp4", "cannot be written"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(tmp_path, network, video, data, output, line, capfd):
    if data is not None:
        video.write_bytes(data)
    assert run(network, video, tmp_path / output) == 1
    out, err = capfd.readouterr()
    assert not out and err.count("\n") == 1 and line in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth", "video.mp4"]


def test_a_disk_that_takes_no_more_leaves_nothing(tmp_path, network, video, capsys):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    try:
        assert run(network, video, tmp_path / "out.mp4") == 1
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "out.mp4: cannot be written" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.pth", "video.mp4"]
