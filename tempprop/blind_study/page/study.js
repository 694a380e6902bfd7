"use strict";

// Two clips side by side, two questions about each pair, one file of answers at the end.
// Nothing is sent anywhere. What the tokens mean is written in the key, which is not in this page.

const STUDY = JSON.parse(document.getElementById("study").textContent);
const QUESTIONS = [
  { name: "realism", text: "Which looks more real and better drawn?" },
  { name: "smoothness", text: "Which moves more smoothly?" },
];
const CHOICES = {
  a: "left", arrowleft: "left",
  b: "right", arrowright: "right",
  n: "same", arrowdown: "same",
};

const DRIFT = 0.02; // seconds between the clips, above which the one ahead is slowed down
const LARGE_DRIFT = 0.25; // seconds, above which both are set to the same time
const SLOWED = 0.95;
const REST = 400; // milliseconds on the last frame: tells the restart from a jump in the clip
const LOOKED_LONG_ENOUGH = 4; // seconds of a pair, after which long clips may be answered

const WATCH_FIRST = "Watch the pair once.";

const $ = (id) => document.getElementById(id);

// What a rater has answered

const STORAGE_KEY = `tempprop-study-${STUDY.study_id}`;

let session = null; // { rater_id, started_at, answers: { "trial question": answer } }

function stored(name) {
  try {
    return JSON.parse(localStorage.getItem(`${STORAGE_KEY} ${name}`));
  } catch {
    return null;
  }
}

function store(name, value) {
  try {
    localStorage.setItem(`${STORAGE_KEY} ${name}`, JSON.stringify(value));
  } catch {
    $("storage-warning").hidden = false;
  }
}

function keepSession() {
  store(`rater ${session.rater_id}`, session);
  store("current", session.rater_id);
}

const answerTo = (step) => session.answers[`${step.trial.trial} ${step.question.name}`];

function answersFile() {
  return {
    schema_version: 1,
    study_id: STUDY.study_id,
    rater_id: session.rater_id,
    started_at: session.started_at,
    saved_at: new Date().toISOString(),
    answers: steps.map(answerTo).filter(Boolean),
  };
}

function download() {
  const link = document.createElement("a");
  const text = JSON.stringify(answersFile(), null, 1);
  link.href = URL.createObjectURL(new Blob([text], { type: "application/json" }));
  link.download = `answers-${STUDY.study_id}-${session.rater_id}.json`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

// Order and sides, which depend on the study and the rater only

function randomNumbers(text) {
  // FNV-1a for the seed, and Mulberry32 (T. Ettinger, 2017): small, and alike in every browser.
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) state = Math.imul(state ^ byte, 0x01000193);
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

function schedule(raterId) {
  const random = randomNumbers(`${STUDY.study_id} ${raterId}`);
  // The trials of a block list their sides in opposite order: turned together, they stay balanced.
  const turned = new Map();
  for (const { block } of STUDY.trials) {
    if (!turned.has(block)) turned.set(block, random() < 0.5);
  }
  const trials = STUDY.trials.map((trial) => {
    const [left, right] = turned.get(trial.block) ? [...trial.sides].reverse() : trial.sides;
    return { ...trial, left, right };
  });
  for (let last = trials.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [trials[last], trials[other]] = [trials[other], trials[last]];
  }
  return trials;
}

// Clips

const loaded = new Map(); // trial -> its two videos

function video(side) {
  const bytes = Uint8Array.from(atob($(`clip-${side.token}`).textContent), (c) => c.charCodeAt(0));
  const element = document.createElement("video");
  element.src = URL.createObjectURL(new Blob([bytes], { type: side.media_type }));
  element.muted = element.playsInline = element.disablePictureInPicture = true;
  element.preload = "auto";
  element.tabIndex = -1;
  return element;
}

function load(trial) {
  if (trial && !loaded.has(trial.trial)) {
    loaded.set(trial.trial, [video(trial.left), video(trial.right)]);
  }
  return trial && loaded.get(trial.trial);
}

function unloadAllBut(trials) {
  const kept = new Set(trials.filter(Boolean).map(({ trial }) => trial));
  for (const [trial, videos] of loaded) {
    if (kept.has(trial)) continue;
    videos.forEach((element) => URL.revokeObjectURL(element.src));
    loaded.delete(trial);
  }
}

const happens = (element, event) =>
  new Promise((resolve) => element.addEventListener(event, resolve, { once: true }));

async function hasPicture(element) {
  if (element.readyState >= HTMLMediaElement.HAVE_CURRENT_DATA) return;
  const arrived = happens(element, "loadeddata");
  element.play().catch(() => {}); // phones load nothing before they are to play
  await arrived;
}

async function seek(element, seconds) {
  const arrived = happens(element, "seeked");
  element.currentTime = Math.min(seconds, element.duration);
  await arrived;
}

// Both clips, as one player

const player = { trial: null, videos: [], playing: false, busy: false, plays: 0, watched: 0 };

async function show(trial) {
  const videos = load(trial);
  Object.assign(player, { trial, videos, playing: true, busy: true, plays: 0, watched: 0 });
  videos.forEach((element, side) => {
    $(["left", "right"][side]).replaceChildren(element);
    element.onerror = () => { $("trouble").hidden = false; };
    if (element.error) element.onerror();
  });
  await Promise.all(videos.map(hasPicture));
  if (player.videos !== videos) return;
  fit();
  await playFromStart();
}

function restart() {
  player.playing = true;
  return playFromStart();
}

async function playFromStart() {
  const { videos } = player;
  player.busy = true;
  videos.forEach((element) => { element.pause(); element.playbackRate = 1; });
  await Promise.all(videos.map((element) => seek(element, 0)));
  if (player.videos !== videos) return;
  player.busy = false;
  setPlaying(player.playing);
}

function setPlaying(playing) {
  player.playing = playing;
  $("play").textContent = playing ? "Pause" : "Play";
  if (player.busy) return; // whoever is busy goes on from here as it is set now
  for (const element of player.videos) {
    if (!playing) element.pause();
    // Interrupted by the next pause or the next pair, which is no fault.
    else if (!element.ended) element.play().catch(() => {});
  }
}

function togglePlaying() {
  const atTheEnd = player.videos.every((element) => element.ended);
  if (atTheEnd && !player.busy) restart();
  else setPlaying(!player.playing);
}

async function step(frames) {
  if (player.busy) return;
  setPlaying(false);
  player.busy = true;
  const { videos, trial } = player;
  const fps = Math.max(trial.left.fps, trial.right.fps);
  const end = Math.max(...videos.map((element) => element.duration));
  const latest = Math.max(...videos.map((element) => element.currentTime));
  // The middle of a frame, because times at its border are rounded to either side.
  const frame = Math.floor(latest * fps + 0.01) + frames;
  const time = (Math.min(Math.max(frame, 0), Math.round(end * fps) - 1) + 0.5) / fps;
  await Promise.all(videos.map((element) => seek(element, time)));
  if (player.videos === videos) player.busy = false;
}

let lastTick = 0;

function follow(now) {
  requestAnimationFrame(follow);
  const elapsed = Math.min(now - lastTick, 100) / 1000;
  lastTick = now;
  if (!player.playing || player.busy || !player.videos.length) return;
  player.watched += elapsed;
  if (player.videos.every((element) => element.ended)) startAgain();
  else if (!player.videos.some((element) => element.ended)) keepTogether();
  openAnswersWhenSeen();
}

async function startAgain() {
  const { videos } = player;
  player.plays += 1;
  player.busy = true;
  await new Promise((resolve) => setTimeout(resolve, REST));
  if (player.videos !== videos) return;
  player.busy = false;
  if (player.playing) playFromStart();
}

function keepTogether() {
  const [left, right] = player.videos;
  const drift = left.currentTime - right.currentTime;
  const [ahead, behind] = drift > 0 ? [left, right] : [right, left];
  behind.playbackRate = 1;
  if (Math.abs(drift) > DRIFT) ahead.playbackRate = SLOWED;
  else if (Math.abs(drift) < DRIFT / 4) ahead.playbackRate = 1;
  if (Math.abs(drift) > LARGE_DRIFT) meetAt(behind.currentTime);
}

async function meetAt(seconds) {
  const { videos } = player;
  player.busy = true;
  videos.forEach((element) => element.pause());
  await Promise.all(videos.map((element) => seek(element, seconds)));
  if (player.videos !== videos) return;
  player.busy = false;
  setPlaying(player.playing);
}

function fit() {
  const { videos } = player;
  if (!videos.length || !videos.every((element) => element.videoWidth)) return;
  const width = Math.max(...videos.map((element) => element.videoWidth));
  const height = Math.max(...videos.map((element) => element.videoHeight));
  const room = $("clips").getBoundingClientRect();
  const gap = parseFloat(getComputedStyle($("clips")).columnGap);
  const pixels = window.devicePixelRatio || 1;
  let scale = Math.min((room.width - gap) / 2 / width, room.height / height) * pixels;
  // Whole device pixels for each of the clip's: small clips stay crisp, and both are treated alike.
  if (scale > 1) scale = Math.floor(scale);
  for (const element of videos) {
    element.style.width = `${(width * scale) / pixels}px`;
    element.style.height = `${(height * scale) / pixels}px`;
    element.classList.toggle("enlarged", scale > 1);
  }
}

// Questions, one after the other

let trials = [];
let steps = []; // { trial, question }, in the order in which they are asked
let position = 0;
let askedAt = 0;
const seen = new Set();

function begin(raterId) {
  session = stored(`rater ${raterId}`) || {
    rater_id: raterId,
    started_at: new Date().toISOString(),
    answers: {},
  };
  keepSession();
  trials = schedule(raterId);
  steps = trials.flatMap((trial) => QUESTIONS.map((question) => ({ trial, question })));
  $("rater-shown").textContent = raterId;
  document.body.classList.add("begun");
  goTo(nextOpen(0));
}

function nextOpen(from) {
  const open = (step) => !answerTo(step);
  const after = steps.findIndex((step, number) => number >= from && open(step));
  return after >= 0 ? after : steps.findIndex(open);
}

function goTo(number) {
  if (number < 0) return finish();
  position = number;
  const { trial, question } = steps[position];
  showOnly("trial");
  if (player.trial !== trial) {
    $("trouble").hidden = true;
    show(trial);
    const next = trials[trials.indexOf(trial) + 1];
    load(next);
    unloadAllBut([trial, next]);
  }
  ask(trial, question);
}

function ask(trial, question) {
  const number = trials.indexOf(trial) + 1;
  $("question").textContent = question.text;
  $("part").textContent =
    `${question.name} · ${QUESTIONS.indexOf(question) + 1} of ${QUESTIONS.length}`;
  $("count").textContent = `${number} of ${trials.length}`;
  const answered = steps.filter(answerTo).length;
  $("progress").value = answered / steps.length;
  $("prompt").textContent = trial.prompt || "";
  $("prompt").hidden = !trial.prompt;
  const given = answerTo(steps[position]);
  for (const button of document.querySelectorAll("[data-choice]")) {
    button.setAttribute("aria-pressed", String(given?.choice === button.dataset.choice));
  }
  $("back").disabled = position === 0;
  $("onward").hidden = !given;
  openAnswersWhenSeen();
  askedAt = performance.now();
  $("question").focus();
}

function openAnswersWhenSeen() {
  const { trial } = steps[position];
  if (player.trial === trial && (player.plays > 0 || player.watched > LOOKED_LONG_ENOUGH)) {
    seen.add(trial.trial);
  }
  const open = seen.has(trial.trial) || Boolean(answerTo(steps[position]));
  if ($("answers").disabled !== open) return;
  $("answers").disabled = !open;
  $("hint").textContent = open ? "" : WATCH_FIRST;
}

function answer(choice) {
  if ($("answers").disabled) return;
  const { trial, question } = steps[position];
  session.answers[`${trial.trial} ${question.name}`] = {
    trial: trial.trial,
    left: trial.left.token,
    right: trial.right.token,
    question: question.name,
    choice,
    reaction_ms: Math.round(performance.now() - askedAt),
  };
  keepSession();
  const next = nextOpen(position + 1);
  if (next < 0) download();
  goTo(next);
}

function back() {
  if ($("end").hidden === false) goTo(steps.length - 1);
  else if (position > 0) goTo(position - 1);
}

function onward() {
  if (answerTo(steps[position])) goTo(nextOpen(position + 1));
}

function finish() {
  player.videos.forEach((element) => element.pause());
  Object.assign(player, { trial: null, videos: [], playing: false });
  $("file-name").textContent = `answers-${STUDY.study_id}-${session.rater_id}.json`;
  $("progress").value = 1;
  showOnly("end");
  $("end-title").focus();
}

function showOnly(section) {
  for (const id of ["welcome", "trial", "end"]) $(id).hidden = id !== section;
}

// Keys and clicks

const KEYS = {
  " ": togglePlaying,
  r: restart,
  ",": () => step(-1),
  ".": () => step(1),
  backspace: back,
  enter: onward,
};

document.addEventListener("keydown", (event) => {
  if (!session || event.ctrlKey || event.altKey || event.metaKey) return;
  const key = event.key.toLowerCase();
  if (event.repeat && key !== "," && key !== ".") return;
  // A button that was reached with the Tab key is pressed with these.
  if (event.target.closest("button") && (key === " " || key === "enter")) return;
  if ($("trial").hidden && key !== "backspace") return;
  if (CHOICES[key]) answer(CHOICES[key]);
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
});

function onClick(id, action) {
  $(id).addEventListener("click", (event) => {
    action();
    // After a click of the mouse, the space bar belongs to the clips again.
    if (event.detail > 0 && !$("trial").hidden) $("question").focus();
  });
}

for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => answer(button.dataset.choice));
}
onClick("toggle", togglePlaying);
onClick("replay", restart);
onClick("earlier", () => step(-1));
onClick("later", () => step(1));
onClick("back", back);
onClick("onward", onward);
onClick("save", download);
onClick("save-again", download);
onClick("review", back);
onClick("another", () => {
  store("current", null);
  location.reload();
});

$("begin").addEventListener("submit", (event) => {
  event.preventDefault();
  begin($("rater").value);
});
window.addEventListener("resize", fit);

const current = stored("current");
if (current) {
  begin(current);
} else {
  const letters = crypto.getRandomValues(new Uint8Array(4));
  $("rater").value = `rater-${Array.from(letters, (n) => n.toString(36).padStart(2, "0")).join("")}`;
  showOnly("welcome");
}
requestAnimationFrame(follow);
