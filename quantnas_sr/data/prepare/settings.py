"""Choices and defaults of `quantnas prepare`. This file imports nothing, so that the help text is fast."""

#: Forms of the result: LMDBs to train on, or folders to test on.
LAYOUTS = ("lmdb", "folders")
#: The usual sub-images of DIV2K, in GT pixels; see `SubImages`.
GT_SIZE, STEP, THRESHOLD = 480, 240, 0

DIV2K_URL = "http://data.vision.ee.ethz.ch/cvl/DIV2K/"
#: Scales that DIV2K has bicubic images for.
DIV2K_SCALES = (2, 3, 4)
#: Images in each part of DIV2K.
DIV2K_COUNTS = {"train": 800, "valid": 100}
