"""What media say of where they come from, who signs that, and how it is verified."""

import hashlib
import http.server
import json
import random
import shutil
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import c2pa
import pytest
from certificates import make_certificates
from command_line import caller
from cryptography.hazmat.primitives.serialization import PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID
from http_servers import serving
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from records import key_of, spec_of
from test_encode import encoded, moving
from test_farm import config_of, planned

from cluster.worker import RenderWorker
from tempprop.encoding.profiles import PROFILES
from tempprop.errors import InputError
from tempprop.lineage import find_lineage
from tempprop.media_objects import files_of
from tempprop.objects import list_names, put_file, read_object, write_object
from tempprop.preflight import check_signing
from tempprop.provenance.claim import DIGITAL_SOURCE_TYPE, Claim, claim_of
from tempprop.provenance.marks import is_marked
from tempprop.provenance.sealing import Seal, read_identity
from tempprop.provenance.signatures import check_signature
from tempprop.provenance.signing import sign_file
from tempprop.provenance.verification import verify_file, verify_library
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


@pytest.mark.parametrize("prompt", ["&" * 20_000, "🦊" * 20_000, "a\x0b\x00b\ufffec"])
def test_a_prompt_that_is_too_long_or_no_xml_still_makes_a_packet(tmp_path, prompt):
    poster = tmp_path / "a.jpg"
    Image.new("RGB", (8, 8)).save(poster)
    add_xmp(poster, xmp_packet(replace(CLAIM, prompt=prompt)))
    told = described(read_xmp(poster))["iptc:AIPromptInformation"]
    assert told in (prompt[:10_000], "a\ufffd\ufffdb\ufffdc")


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("mini", "mini"),
        ("studio/dream-xl", "studio/dream-xl"),
        ("/mnt/clients/acme/dream-xl/", "dream-xl"),
        ("s3://acme-secret/models/dream.safetensors", "dream.safetensors"),
    ],
)
def test_media_name_the_model_and_not_where_it_lies(uri, name):
    claim = claim_of(spec_of("a"), key_of("a"), MODEL.model_copy(update={"uri": uri}))
    assert claim.model == f"StableDiffusionPipeline {name}"


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


@pytest.mark.parametrize(
    "settings",
    [
        {"days": (-30, -1)},
        {"days": (1, 30)},
        {"is_ca": True},
        {"purpose": ExtendedKeyUsageOID.SERVER_AUTH},
    ],
    ids=["expired", "not yet valid", "of an authority", "of a server"],
)
def test_a_certificate_with_which_c2pa_does_not_sign_is_found_too(tmp_path, settings):
    made = make_certificates(tmp_path, **settings)
    config = ProvenanceConfig(certificate=str(made.chain), private_key=str(made.key))
    with pytest.raises(InputError, match="cannot sign by es256: Signature: the certificate") as e:
        check_signing(config)
    assert str(made.chain) in str(e.value)


def test_a_time_stamp_that_is_not_to_be_had_is_found_before_anything_starts(provenance):
    silent = provenance.model_copy(update={"timestamp_url": "http://127.0.0.1:9/"})
    assert read_identity(silent) is not None
    with pytest.raises(InputError, match=r"timestamp_url http://127.0.0.1:9/ gives no time stamp"):
        check_signing(silent)


def test_a_key_as_openssl_writes_it_signs_too(tmp_path):
    made = make_certificates(tmp_path, key_format=PrivateFormat.TraditionalOpenSSL)
    assert b"BEGIN EC PRIVATE KEY" in made.key.read_bytes()
    check_signing(ProvenanceConfig(certificate=str(made.chain), private_key=str(made.key)))


def test_a_worker_without_the_certificate_says_so_before_its_first_clip(tmp_path, certificates):
    gone = ProvenanceConfig(certificate="gone.pem", private_key=str(certificates.key))
    config = config_of().model_copy(update={"provenance": gone})
    introduction = RenderWorker("worker-1", str(tmp_path), config, "run-1", 1).load(None)
    assert "gone.pem cannot be read" in introduction.problem


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


@pytest.mark.parametrize("part", ["url", "poster_url", "preview_url"])
def test_media_that_are_gone_are_found(library, part):
    result = record_of(library, "plain-1")
    library.fs.rm_file(library.path(getattr(result.media, part)))
    assert "the media are not there" in problems(library)["plain-1"][0]


def signed_picture(path, config, claim, media_sha256=None):
    Image.new("RGB", (64, 64)).save(path)
    add_xmp(path, xmp_packet(claim))
    sign_file(path, claim, read_identity(config), media_sha256)
    return path


def test_a_sidecar_has_to_be_about_the_clip_and_its_media(
    library, tmp_path, provenance, certificates
):
    """Record and media were changed together, and the poster is a signed one of the studio."""
    result = record_of(library, "sidecar-1")
    media = read_object(library, result.media.url) + b"\0"
    write_object(library, result.media.url, media)
    digest = hashlib.sha256(media).hexdigest()
    changed = result.media.model_copy(update={"sha256": digest, "bytes": len(media)})
    record = result.model_copy(update={"media": changed})
    write_object(library, f"records/{result.key}.json", record.model_dump_json().encode())
    own = Claim(result.key, result.clip_id, "m", "0" * 64)
    other = Claim("0" * 64, "other", "m", "0" * 64)
    for claim, told, complaint in (
        (own, None, "the signed sidecar is that of other media"),
        (own, result.media.sha256, "the signed sidecar is that of other media"),
        (other, digest, "what is signed has the key 0000000000000000"),
    ):
        poster = signed_picture(tmp_path / "poster.jpg", provenance, claim, told)
        put_file(library, poster, result.media.poster_url)
        found = problems(library, trust_anchors=certificates.root.read_text())
        assert complaint in found["sidecar-1"]
    poster = signed_picture(tmp_path / "poster.jpg", provenance, own, digest)
    put_file(library, poster, result.media.poster_url)
    assert problems(library) == {}, "what differs is what is complained of"


def test_a_signature_of_something_else_proves_nothing(library, tmp_path, provenance, certificates):
    """A photograph that the same studio has signed, in the place of a poster."""
    path, signed = tmp_path / "plain.jpg", tmp_path / "signed.jpg"
    Image.new("RGB", (64, 64)).save(path)
    identity = read_identity(provenance)
    signer = c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(b"es256", identity.chain, identity.key, None)
    )
    created = {"action": "c2pa.created", "digitalSourceType": f"{DIGITAL_SOURCE_TYPE}/../other"}
    actions = {"label": "c2pa.actions.v2", "data": {"actions": [created]}}
    manifest = {"claim_generator_info": [{"name": "camera"}], "assertions": [actions]}
    with path.open("rb") as source, signed.open("w+b") as target:
        c2pa.Builder(json.dumps(manifest)).sign(signer, "image/jpeg", source, target)
    put_file(library, signed, record_of(library, "sidecar-1").media.poster_url)
    found = problems(library, trust_anchors=certificates.root.read_text())["sidecar-1"]
    assert "what is signed has the key of no clip" in found
    assert "what is signed does not say that a model has made it" in found
    assert any("does not say that a model has made it" in each for each in found)


def test_a_sidecar_that_another_has_signed_is_found_without_anchors(library, tmp_path):
    result = record_of(library, "sidecar-1")
    stranger = make_certificates(tmp_path / "stranger", "Somebody else")
    config = ProvenanceConfig(certificate=str(stranger.chain), private_key=str(stranger.key))
    claim = Claim(result.key, result.clip_id, "m", "0" * 64)
    poster = signed_picture(tmp_path / "poster.jpg", config, claim, result.media.sha256)
    put_file(library, poster, result.media.poster_url)
    assert "the signature is Somebody else's" in problems(library)["sidecar-1"][0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("media.url", "../outside.mp4"),
        ("media.url", ""),
        ("media.poster_url", "/etc/hostname"),
        ("media.checksums_url", "records"),
        ("media.fps", 1e-300),
        ("media.width", 2),
        ("media.codec", "theora"),
        ("media.duration_seconds", 9.0),
        ("clip_id", "other"),
        ("provenance.signer", "CN=Somebody else"),
        ("provenance.signature", None),
    ],
)
def test_no_record_stops_the_verification_of_the_others(library, path, value):
    """What others can write may say anything."""
    result = record_of(library, "signed-1")
    values = result.model_dump(mode="json")
    *parents, last = path.split(".")
    target = values
    for parent in parents:
        target = target[parent]
    target[last] = value
    write_object(library, f"records/{result.key}.json", json.dumps(values).encode())
    checks = list(verify_library(library, decode=True))
    assert [check.key for check in checks if check.problems] == [result.key]
    assert len(checks) == 6


@pytest.mark.parametrize("sums", [b"", b"\xff\xfe", b"0  ../../records/a\n", b"0  /tmp/a\n"])
def test_a_list_of_digests_names_no_places_on_this_machine(library, sums):
    result = record_of(library, "sidecar-2")
    write_object(library, result.media.checksums_url, sums)
    assert set(problems(library)) == {"sidecar-2"}


@pytest.mark.parametrize("name", ["signed-1", "sidecar-1", "sidecar-2"])
def test_no_damaged_file_ends_the_verification(rendered, tmp_path, name):
    """Bits and ends that were lost: some answer always comes."""
    for original in (rendered / "media").rglob(f"{name}*"):
        if not original.is_file():
            continue
        content, chance = original.read_bytes(), random.Random(original.name)
        before = verify_file(original)
        for _ in range(40):
            at = chance.randrange(len(content))
            damage = bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
            path = tmp_path / f"damaged{original.suffix}"
            path.write_bytes(content[:at] + chance.choice([damage, b""]))
            assert verify_file(path).sha256 != before.sha256


def test_verifying_a_file_asks_nobody(tmp_path):
    """A file may name a place of its manifest, which would learn who looks at it."""
    asked = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_error(404)

    with serving(Listener) as endpoint:
        url = f"{endpoint}/manifest.c2pa"
        there = f'xmlns:dcterms="http://purl.org/dc/terms/" dcterms:provenance="{url}" '
        packet = xmp_packet(CLAIM).replace(b'rdf:about=""', f'{there}rdf:about=""'.encode())
        path = tmp_path / "a.jpg"
        Image.new("RGB", (8, 8)).save(path)
        add_xmp(path, packet)
        assert check_signature(path).state == "invalid"
    assert asked == []


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
    assert (told["checked"], told["problems"]) == (6, 1)
    assert [clip["clip_id"] for clip in told["clips"]] == ["signed-1"]
    assert "signed-2" in verify(out, "--all").out
    assert len(json.loads(verify(out, "--all", "--json").out)["clips"]) == 6


def test_a_single_file_is_verified_wherever_it_is(verify, library, out, tmp_path, certificates):
    result = record_of(library, "signed-1")
    copy = tmp_path / "copy.mp4"
    copy.write_bytes(read_object(library, result.media.url))
    anchors = ("--trust-anchors", str(certificates.root))
    answer = verify(str(copy), *anchors, "--library", out)
    assert answer.code == 0, answer.out
    for words in ("trusted", "Test studio", "says so", result.key, "media of signed-1"):
        assert words in answer.out
    copy.write_bytes(damaged(copy.read_bytes()))
    answer = verify(str(copy), *anchors, "--library", out)
    assert answer.code == 1
    assert "the signature does not hold" in answer.out
    assert "none of the files of its record" in answer.out


def test_each_file_of_a_clip_is_known_to_its_library(library):
    for name in ("signed-1", "sidecar-1", "sidecar-2", "plain-1"):
        media = record_of(library, name).media
        frame = media.url % 1 if media.checksums_url is not None else media.url
        for url in (frame, media.poster_url, media.preview_url):
            path = Path(library.path(url))
            part = {media.url: "media", media.poster_url: "poster", media.preview_url: "preview"}
            expected = part.get(url, path.name)
            check = verify_file(path, library=library)
            assert (check.problems, check.origin) == ((), f"{expected} of {name}, byte for byte")
            assert find_lineage(library, str(path)).file.part == expected
            # A byte behind the end of the file, which decoders do not mind.
            path.write_bytes(path.read_bytes() + b"\0")
            told = verify_file(path, library=library).problems
            if url == frame:
                assert "it is none of the files of its record: its sha256 is another" in told


@pytest.mark.parametrize("profile", ["h264", "vp9"])
def test_a_file_that_says_nothing_or_is_not_signed_as_asked(
    verify, tmp_path, certificates, profile
):
    marked = encoded([moving()], tmp_path, encoder=EncoderConfig(profile=profile), seal=Seal(CLAIM))
    assert verify(str(marked.path)).code == 0
    answer = verify(str(marked.path), "--trust-anchors", str(certificates.root))
    assert answer.code == 1
    assert "nobody has signed it" in answer.out or "its format holds no signature" in answer.out
    bare = tmp_path / "bare"
    bare.mkdir()
    unmarked = encoded([moving()], bare, encoder=EncoderConfig(profile=profile))
    answer = verify(str(unmarked.path))
    assert answer.code == 1
    assert "it does not say that a model has made it" in answer.out


def test_what_cannot_be_verified(verify, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "there is no output at" in verify(str(empty)).err
    (empty / "records").mkdir()
    assert "holds no committed clips" in verify(str(empty)).err
    no_certificates = tmp_path / "clips.csv"
    no_certificates.write_text("clip_id,prompt")
    for anchors, complaint in (
        (tmp_path / "gone.pem", "cannot be read"),
        (no_certificates, "are no certificates in PEM"),
    ):
        answer = verify(str(empty), "--trust-anchors", str(anchors))
        assert answer.code == 2
        assert f"the trust anchors {anchors} {complaint}" in answer.err
    answer = verify(str(tmp_path / "gone.mp4"), "--library", str(empty))
    assert answer.code == 2
    assert "there is no file" in " ".join(answer.err.split())
