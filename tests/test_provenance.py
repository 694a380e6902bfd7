"""What media say of where they come from, who signs that, and how it is verified."""

import json
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest
from certificates import make_certificates
from command_line import caller
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from records import key_of, spec_of
from test_encode import encoded, moving
from test_farm import config_of, planned

from cluster.worker import RenderWorker
from tempprop.encoding.profiles import PROFILES
from tempprop.errors import InputError
from tempprop.media_objects import files_of
from tempprop.objects import list_names, put_file, read_object, write_object
from tempprop.provenance.claim import DIGITAL_SOURCE_TYPE, Claim, claim_of
from tempprop.provenance.marks import is_marked
from tempprop.provenance.sealing import Seal, read_identity
from tempprop.provenance.signatures import check_signature
from tempprop.provenance.verification import verify_library
from tempprop.provenance.xmp import READERS, add_xmp, read_xmp, xmp_packet
from tempprop.spec import ClipResult, EncoderConfig, ModelIdentity, ProvenanceConfig
from tempprop.store import open_store, read_result

MODEL = ModelIdentity(uri="mini", pipeline_class="StableDiffusionPipeline", digest="d" * 64)
CLAIM = claim_of(spec_of("a"), key_of("a"), MODEL)
NAMESPACES = {
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "xmp": "http://ns.adobe.com/xap/1.0/",
    "dc": "http://purl.org/dc/elements/1.1/",
    "iptc": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
}


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def provenance(certificates):
    return ProvenanceConfig(certificate=str(certificates.chain), private_key=str(certificates.key))


def described(packet):
    root = ET.fromstring(packet.decode().strip("\ufeff"))
    (description,) = root.iterfind("rdf:RDF/rdf:Description", NAMESPACES)
    return {
        name: description.findtext(name, namespaces=NAMESPACES)
        for name in (
            *("iptc:DigitalSourceType", "iptc:AISystemUsed", "iptc:AISystemVersionUsed"),
            *("iptc:AIPromptInformation", "xmp:CreatorTool", "dc:identifier"),
        )
    }


@given(prompt=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1))
def test_a_packet_says_what_is_claimed_whatever_the_prompt(prompt):
    claim = replace(CLAIM, prompt=prompt, model="<model> & 'co'")
    words = described(xmp_packet(claim))
    assert words["iptc:DigitalSourceType"] == DIGITAL_SOURCE_TYPE
    assert words["iptc:AIPromptInformation"] == prompt
    assert words["iptc:AISystemUsed"] == "<model> & 'co'"
    assert words["dc:identifier"] == CLAIM.key
    assert words["xmp:CreatorTool"].startswith("tempprop ")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("num_frames", [1, 8])
def test_every_file_says_for_machines_that_a_model_has_made_it(tmp_path, profile, num_frames):
    encoder = EncoderConfig(profile=profile)
    clip = encoded(
        [moving(num_frames)], tmp_path, num_frames=num_frames, encoder=encoder, seal=Seal(CLAIM)
    )
    for file in (*files_of(clip.pattern), clip.poster_path, clip.preview_path):
        assert is_marked(file), file.name
        packet = read_xmp(file)
        assert (packet is not None) == (file.suffix in READERS)
        if packet is not None:
            assert described(packet)["dc:identifier"] == CLAIM.key
            assert described(packet)["iptc:AIPromptInformation"] is None
    # Also for readers that are not ours.
    for file in (clip.poster_path, clip.preview_path):
        with Image.open(file) as image:
            image.load()
            assert described(image.info["xmp"])["dc:identifier"] == CLAIM.key
    assert clip.signature is None


def test_marking_is_the_same_each_time_and_leaves_the_picture_alone(tmp_path):
    for name in ("a", "b"):
        for suffix in (".png", ".webp", ".gif", ".jpg"):
            path = tmp_path / f"{name}{suffix}"
            Image.fromarray(moving()[0]).save(path, lossless=True)
            before = path.read_bytes()
            with Image.open(path) as image:
                pixels = image.convert("RGBA").tobytes()
            assert not is_marked(path)
            add_xmp(path, xmp_packet(CLAIM))
            with Image.open(path) as image:
                assert image.convert("RGBA").tobytes() == pixels
            assert len(path.read_bytes()) < len(before) + 2000
    for suffix in (".png", ".webp", ".gif", ".jpg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_file_that_is_not_what_its_name_says(tmp_path):
    for suffix in (".png", ".webp", ".gif", ".jpg"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(b"something else")
        with pytest.raises(ValueError, match=r"is not what its name says|does not end"):
            add_xmp(path, xmp_packet(CLAIM))
        assert not is_marked(path)


@pytest.mark.parametrize("profile", ["h264", "prores", "gif", "webp"])
def test_what_can_hold_a_signature_is_signed_and_still_plays(
    tmp_path, provenance, certificates, profile
):
    seal = Seal(replace(CLAIM, prompt="a red boat"), read_identity(provenance))
    clip = encoded([moving()], tmp_path, encoder=EncoderConfig(profile=profile), seal=seal)
    assert clip.signature == "embedded"
    for path in (clip.path, clip.poster_path, clip.preview_path):
        trusted = check_signature(path, certificates.root.read_text())
        assert (trusted.state, trusted.source_type) == ("trusted", DIGITAL_SOURCE_TYPE)
        assert trusted.signer == "Test studio"
        assert trusted.clip == {
            "key": CLAIM.key,
            "clip_id": "a",
            "model": "StableDiffusionPipeline mini",
            "model_digest": "sha256:" + "d" * 64,
            "prompt": "a red boat",
        }
        assert check_signature(path).state == "valid"
    assert clip.path.stat().st_size < 20_000 or profile == "prores"


@pytest.mark.parametrize("profile", ["vp9", "ffv1", "png"])
def test_what_cannot_hold_one_has_a_signed_sidecar(tmp_path, provenance, profile):
    seal = Seal(CLAIM, read_identity(provenance))
    clip = encoded([moving()], tmp_path, encoder=EncoderConfig(profile=profile), seal=seal)
    assert clip.signature == "sidecar"
    found = check_signature(clip.poster_path)
    assert (found.state, found.media_sha256) == ("valid", clip.sha256)


def test_a_certificate_that_cannot_sign_is_found_before_anything_starts(tmp_path, certificates):
    other = make_certificates(tmp_path / "other")
    chain, key = str(certificates.chain), str(certificates.key)
    text = tmp_path / "text.pem"
    text.write_text("no certificate")
    for settings, complaint in (
        ({"certificate": "gone.pem", "private_key": key}, "gone.pem cannot be read"),
        ({"certificate": chain, "private_key": "gone.pem"}, "private_key gone.pem cannot be read"),
        ({"certificate": str(text), "private_key": key}, "holds no certificate in PEM"),
        ({"certificate": chain, "private_key": str(text)}, "holds no private key in PEM"),
        ({"certificate": chain, "private_key": str(other.key)}, "is not the key of the first"),
        ({"certificate": chain}, "set TEMPPROP_SIGNING_KEY to the private key"),
        ({"certificate": chain, "private_key": key, "algorithm": "ed25519"}, "cannot sign by ed"),
    ):
        with pytest.raises(InputError, match=complaint) as caught:
            read_identity(ProvenanceConfig(**settings))
        assert "PRIVATE KEY" not in str(caught.value)


def test_a_key_may_come_from_the_environment_and_is_never_shown(monkeypatch, certificates):
    monkeypatch.setenv("STUDIO_KEY", certificates.key.read_text())
    config = ProvenanceConfig(
        certificate=str(certificates.chain), private_key_variable="STUDIO_KEY"
    )
    identity = read_identity(config)
    assert identity.subject == "CN=Test studio,O=Test"
    assert "PRIVATE KEY" not in repr(identity)


# Verification of a library


def render_library(out, provenance):
    """Six clips: signed in themselves, with a sidecar, and not signed."""
    for name, profile, signing in (
        ("signed-1", "h264", provenance),
        ("signed-2", "h264", provenance),
        ("sidecar-1", "vp9", provenance),
        ("sidecar-2", "png", provenance),
        ("plain-1", "h264", ProvenanceConfig()),
        ("plain-2", "hevc", ProvenanceConfig()),
    ):
        changes = {"encoder": EncoderConfig(profile=profile), "provenance": signing}
        config = config_of().model_copy(update=changes)
        result = RenderWorker("worker-1", out, config, "run-1", 1).render(planned(config, name))
        assert isinstance(result, ClipResult), result


@pytest.fixture(scope="module")
def rendered(tmp_path_factory, provenance):
    out = tmp_path_factory.mktemp("rendered") / "out"
    render_library(str(out), provenance)
    return out


@pytest.fixture
def out(rendered, tmp_path):
    return str(shutil.copytree(rendered, tmp_path / "out"))


@pytest.fixture
def library(out):
    return open_store(out)


def problems(store, **options):
    return {
        check.clip_id: check.problems
        for check in verify_library(store, **options)
        if check.problems
    }


def record_of(store, clip_id):
    keys = [name.removesuffix(".json") for name in list_names(store, "records")]
    return next(r for r in (read_result(store, key) for key in keys) if r.clip_id == clip_id)


def rewrite(store, name, change):
    """Change an object, by a function of its bytes."""
    write_object(store, name, change(read_object(store, name)))


def damaged(content):
    """Change one bit of the first frame's data, in an MP4 or a PNG."""
    start = next(content.index(mark) for mark in (b"mdat", b"IDAT") if mark in content)
    at = start + 40
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def test_a_library_that_is_whole(library, certificates):
    checks = list(verify_library(library, decode=True, trust_anchors=None))
    assert [check.problems for check in checks] == [()] * 6
    states = {check.clip_id: check.signature for check in checks}
    assert [states[name] for name in sorted(states)] == [
        *("missing", "missing", "valid", "valid", "valid", "valid")
    ]
    trusted = verify_library(library, trust_anchors=certificates.root.read_text())
    assert {check.clip_id for check in trusted if check.signature == "trusted"} == {
        *("signed-1", "signed-2", "sidecar-1", "sidecar-2")
    }


def harm(store):
    """Damage a film and a frame of a sequence, and put the film of one clip in another's place."""
    rewrite(store, record_of(store, "signed-1").media.url, damaged)
    rewrite(store, record_of(store, "sidecar-2").media.url % 1, damaged)
    other = read_object(store, record_of(store, "signed-2").media.url)
    write_object(store, record_of(store, "plain-1").media.url, other)


def test_whatever_is_done_to_a_library_is_found(library):
    harm(library)
    found = problems(library)
    assert set(found) == {"signed-1", "sidecar-2", "plain-1"}
    assert any("sha256 is another" in each for each in found["signed-1"])
    assert any("the signature does not hold" in each for each in found["signed-1"])
    assert any("sha256 is another" in each for each in found["sidecar-2"])
    assert any("say that they are those of" in each for each in found["plain-1"])


@pytest.mark.s3
def test_a_library_in_a_bucket_is_verified_as_well(s3_uri, provenance):
    render_library(s3_uri, provenance)
    store = open_store(s3_uri)
    assert problems(store, decode=True) == {}
    harm(store)
    assert set(problems(store)) == {"signed-1", "sidecar-2", "plain-1"}


def test_a_record_that_was_edited_is_found(library):
    signed, sidecar = record_of(library, "signed-1"), record_of(library, "sidecar-1")

    def edit(result, **changes):
        name = f"records/{result.key}.json"
        values = json.loads(read_object(library, name))
        for path, value in changes.items():
            *parents, last = path.split("__")
            target = values
            for parent in parents:
                target = target[parent]
            target[last] = value
        write_object(library, name, json.dumps(values).encode())

    edit(signed, spec__prompt="something else")
    edit(sidecar, media__sha256="0" * 64)
    edit(record_of(library, "plain-1"), provenance__signature="embedded")
    write_object(library, f"records/{record_of(library, 'plain-2').key}.json", b"{")
    found = {check.key: check.problems for check in verify_library(library) if check.problems}
    said = " | ".join(problem for each in found.values() for problem in each)
    assert len(found) == 4
    for words in (
        "its key says that it was rendered from another",
        "the signed sidecar is that of other media",
        "the record says that it is signed, and there is no signature",
        "the record cannot be read",
    ):
        assert words in said


def test_a_signature_that_was_stripped_or_made_by_another_is_found(library, tmp_path, certificates):
    result = record_of(library, "signed-1")
    path = tmp_path / "copy.mp4"
    plain = encoded([moving()], tmp_path, seal=Seal(CLAIM))
    shutil.copy(plain.path, path)
    put_file(library, path, result.media.url)
    stranger = make_certificates(tmp_path / "stranger", "Somebody else")
    config = ProvenanceConfig(certificate=str(stranger.chain), private_key=str(stranger.key))
    other = record_of(library, "signed-2")
    claim = Claim(other.key, other.clip_id, "m", "0" * 64)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    forged = encoded([moving()], elsewhere, seal=Seal(claim, read_identity(config)))
    put_file(library, forged.path, other.media.url)
    found = problems(library, trust_anchors=certificates.root.read_text())
    assert "the record says that it is signed, and there is no signature" in found["signed-1"]
    assert "nobody trusted has signed it, but Somebody else" in found["signed-2"]


def test_media_that_are_gone_are_found(library):
    result = record_of(library, "plain-1")
    library.fs.rm_file(library.path(result.media.url))
    assert "the media are not there" in problems(library)["plain-1"][0]


# The command line


@pytest.fixture
def verify(monkeypatch, capsys):
    # Wide enough for a digest on one line.
    monkeypatch.setenv("COLUMNS", "200")
    call = caller(monkeypatch, capsys)
    return lambda *words: call("verify", *words)


def test_the_command_lists_what_is_wrong_and_says_so_to_scripts(verify, library, out):
    answer = verify(out)
    assert answer.code == 0
    assert "6 clips checked, 0 with problems; 4 signed" in answer.out
    result = record_of(library, "signed-1")
    rewrite(library, result.media.url, damaged)
    answer = verify(out)
    assert answer.code == 1
    assert "1 with problems" in answer.out
    assert result.key[:16] in answer.out
    assert "signed-2" not in answer.out
    told = json.loads(verify(out, "--json").out)
    assert told["checked"] == 6
    assert [clip["clip_id"] for clip in told["clips"] if clip["problems"]] == ["signed-1"]
    assert "signed-2" in verify(out, "--all").out


def test_a_single_file_is_verified_wherever_it_is(verify, library, out, tmp_path, certificates):
    result = record_of(library, "signed-1")
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(read_object(library, result.media.url))
    anchors = ("--trust-anchors", str(certificates.root))
    answer = verify(str(copy), *anchors, "--library", out)
    assert answer.code == 0, answer.out
    for words in ("trusted", "Test studio", "says so", result.key):
        assert words in answer.out
    copy.write_bytes(damaged(copy.read_bytes()))
    answer = verify(str(copy), *anchors, "--library", out)
    assert answer.code == 1
    assert "the signature does not hold" in answer.out
    assert "not the file of its record" in answer.out


def test_what_cannot_be_verified(verify, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "holds no committed clips" in verify(str(empty)).err
    answer = verify(str(empty), "--trust-anchors", str(tmp_path / "gone.pem"))
    assert answer.code == 2
    assert "the trust anchors" in answer.err
