"""Studies of the propagation on the embedded model: the evidence behind its defaults.

Each is a command that renders, measures and writes what it found into `docs/`:

- ``python -m tempprop.studies.sweep`` varies one setting at a time,
- ``python -m tempprop.studies.drift`` follows long clips,
- ``python -m tempprop.studies.modes`` draws a picture of what the settings do.

They need OpenCV and Matplotlib, which come with ``pip install tempprop[evaluation]``.
"""
