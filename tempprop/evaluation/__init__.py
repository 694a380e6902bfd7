"""Evaluation of any clips, ours or others': figures that papers report, with their intervals.

Frames of a clip are uint8 arrays of shape `(frames, height, width, 3)`, RGB, as `tempprop.render`
gives them. Optical flow needs OpenCV and plots need Matplotlib, which come with
``pip install tempprop[evaluation]``.
"""
