"""A second domain for the evaluation: real animations, learned from single frames.

The Fluent animated emoji are short films made by designers. The architecture of the embedded model
is trained on single frames of them, in random order and never as sequences, and real clips of the
same animations are what its videos are compared with:

- ``python -m tempprop.studies.emoji.prepare WORK`` fetches the animations and writes the data,
- ``python -m tempprop.studies.emoji.resemblance WORK`` measures how well that is held out,
- ``python -m tempprop.studies.emoji.reference WORK OUT`` writes the real clips and their prompts,
- ``python -m tempprop.studies.emoji.train WORK`` trains the model, whose weights are in `weights`,
- ``python -m tempprop.studies.emoji.grid PROMPTS`` draws what it knows.

`docs/emoji.md` says what is in the data, what is held out, and what that does not show.
"""
