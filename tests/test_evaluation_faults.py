"""Planted faults move each metric that claims to see them, in every clip, the right way."""

import cv2
import numpy as np
import pytest
from judging import judge_or_skip

from tempprop.evaluation.clip_metrics import picture_figures
from tempprop.evaluation.frechet import frechet_distance, gaussian_of
from tempprop.evaluation.i3d import video_features
from tempprop.evaluation.inception import picture_features
from tempprop.evaluation.lpips import perceptual_distances
from tempprop.evaluation.motion_features import motion_features
from tempprop.evaluation.prompts import asked_for
from tempprop.evaluation.trained import first_frame_consistency, recognized_share
from tempprop.mini.classifier import load_classifier
from tempprop.studies.films import drawn_film
from tempprop.studies.subjects import subjects

CLIPS = 4
FRAMES = 10
"""A little more than I3D takes at least."""


def frozen(film):
    return np.repeat(film[:1], len(film), axis=0)


def stuck(film):
    """Stands still in its second half."""
    half = len(film) // 2
    return np.concatenate([film[:half], np.repeat(film[half : half + 1], len(film) - half, axis=0)])


def shuffled(film):
    # Frame 0 stays, since others are compared with it.
    return film[[0, *(1 + np.random.default_rng(3).permutation(len(film) - 1))]]


def noisy(film):
    noise = np.random.default_rng(4).normal(0, 25, film.shape)
    return np.clip(film + noise, 0, 255).astype(np.uint8)


def darkening(film):
    light = np.linspace(1, 0.4, len(film))[:, None, None, None]
    return (film * light).astype(np.uint8)


def bluish(film):
    return (film * np.array([0.7, 0.8, 1])).astype(np.uint8)


def blinking(film):
    light = np.where(np.arange(len(film)) % 2, 0.8, 1)[:, None, None, None]
    return (film * light).astype(np.uint8)


def blurring(film):
    blurred = [cv2.GaussianBlur(frame, (0, 0), n) for n, frame in enumerate(film[1:], start=1)]
    return np.stack([film[0], *blurred])


def cut(film):
    half = len(film) // 2
    return np.concatenate([film[:half], other_world(len(film) - half)])


def other_world(count):
    return drawn_film(subjects(30)[-1], count)


HIGHER, LOWER = 1, -1

SEEN_IN_PICTURES = {
    frozen: {
        "motion": LOWER,
        "motion_share": LOWER,
        "dynamic_degree": LOWER,
        "frozen": HIGHER,
        "neighbor_difference": LOWER,
        "flicker": LOWER,
        "warping_error": LOWER,
        "color_drift": LOWER,
    },
    stuck: {"frozen": HIGHER, "motion": LOWER, "jump": HIGHER},
    shuffled: {
        "flicker": HIGHER,
        "neighbor_difference": HIGHER,
        "warping_error": HIGHER,
        "motion": HIGHER,
    },
    noisy: {"flicker": HIGHER, "neighbor_difference": HIGHER, "warping_error": HIGHER},
    darkening: {"color_drift": HIGHER, "sharpness": LOWER},
    blinking: {"flicker": HIGHER, "warping_error": HIGHER, "color_drift": HIGHER},
    blurring: {"sharpness": LOWER},
    cut: {"jump": HIGHER, "color_drift": HIGHER, "warping_error": HIGHER},
}


@pytest.fixture(scope="module")
def films():
    return [drawn_film(subject, FRAMES) for subject in subjects(CLIPS)]


@pytest.fixture(scope="module")
def sound(films):
    return [picture_figures(film) for film in films]


@pytest.mark.parametrize("fault", SEEN_IN_PICTURES)
def test_what_the_pictures_show(films, sound, fault):
    for film, before in zip(films, sound, strict=True):
        after = picture_figures(fault(film))
        wrong = {
            name: (before[name], after[name])
            for name, way in SEEN_IN_PICTURES[fault].items()
            if not way * (after[name] - before[name]) > 0
        }
        assert wrong == {}


def test_a_still_clip_has_nothing_to_move_and_is_frozen(films):
    for film in films:
        figures = picture_figures(frozen(film))
        assert figures["motion"] == pytest.approx(0, abs=0.02)
        assert (figures["frozen"], figures["dynamic_degree"]) == (1, 0)


def test_what_is_prompted_is_not_recognized_in_a_cut_nor_in_noise():
    classifier = load_classifier()
    for subject in subjects(CLIPS):
        film, asked = drawn_film(subject, FRAMES), asked_for(subject.prompt)
        assert recognized_share(classifier, film, asked) == 1
        assert recognized_share(classifier, cut(film), asked) == 0.5
        far_too_noisy = np.random.default_rng(5).integers(0, 256, film.shape, dtype=np.uint8)
        assert recognized_share(classifier, far_too_noisy, asked) == 0


@pytest.mark.parametrize(
    ("fault", "way"), [(frozen, LOWER), (shuffled, HIGHER), (noisy, HIGHER), (cut, HIGHER)]
)
def test_lpips_of_neighbors(films, fault, way):
    network = judge_or_skip("lpips")
    for film in films:
        before, after = (perceptual_distances(network, clip).mean() for clip in (film, fault(film)))
        assert way * (after - before) > 0


def test_consistency_with_frame_0(films):
    network = judge_or_skip("inception")
    film = films[0][:6]
    before = first_frame_consistency(picture_features(network, film))
    for fault, way in {frozen: HIGHER, darkening: LOWER, blurring: LOWER, cut: LOWER}.items():
        after = first_frame_consistency(picture_features(network, fault(film)))
        assert way * (after - before) > 0
        assert after <= 1 + 1e-9


@pytest.mark.slow
def test_distances_to_real_films():
    i3d, inception = judge_or_skip("i3d"), judge_or_skip("inception")
    films = [drawn_film(subject, FRAMES) for subject in subjects(2 * CLIPS)]
    real, ours = films[:CLIPS], films[CLIPS:]

    def fvd(clips):
        return gaussian_of(np.stack([video_features(i3d, clip) for clip in clips]))

    def fid(clips):
        return gaussian_of(np.concatenate([picture_features(inception, c[::4]) for c in clips]))

    for distribution, faults in ((fvd, (noisy, frozen)), (fid, (noisy, blurring))):
        reference = distribution(real)
        sound = frechet_distance(reference, distribution(ours))
        for fault in faults:
            assert frechet_distance(reference, distribution(list(map(fault, ours)))) > 1.1 * sound


def test_motion_distance_to_real_films_hears_how_they_move_and_not_their_colors():
    films = [drawn_film(subject, FRAMES) for subject in subjects(24)]

    def moving(clips):
        return gaussian_of(np.stack([motion_features(clip) for clip in clips]))

    reference, ours = moving(films[:12]), films[12:]
    sound = frechet_distance(reference, moving(ours))
    for fault in (shuffled, noisy, frozen):
        assert frechet_distance(reference, moving(list(map(fault, ours)))) > 1.3 * sound
    assert frechet_distance(reference, moving(list(map(bluish, ours)))) < 1.15 * sound
