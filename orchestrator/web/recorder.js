// One microphone recording, as a WAV file. WAV because every server-side decoder reads it the same way.

import { encodeWav } from "./wav.js";

/** Longest recording, in seconds; it then stops by itself. */
export const MAX_SECONDS = 30;

/** The microphone is missing, refused or not offered to this page. */
export class RecordingError extends Error {}

/** Open the microphone. `onProgress(seconds, level)` gets the length so far and the loudness, 0..1. */
export async function startRecording({ onProgress, onFull }) {
  if (!navigator.mediaDevices?.getUserMedia) {
    throw new RecordingError("Recording needs a secure page: open it over https or on localhost.");
  }
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
  } catch (cause) {
    throw new RecordingError(explain(cause), { cause });
  }
  try {
    return await Recording.open(stream, onProgress, onFull);
  } catch (cause) {
    stream.getTracks().forEach((track) => track.stop());
    throw new RecordingError("The microphone could not be read.", { cause });
  }
}

class Recording {
  #stream;
  #context;
  #chunks = [];
  #samples = 0;
  #open = true;

  static async open(stream, onProgress, onFull) {
    const recording = new Recording();
    recording.#stream = stream;
    recording.#context = new AudioContext();
    await recording.#context.audioWorklet.addModule("/static/recorder-worklet.js");
    const tap = new AudioWorkletNode(recording.#context, "mono-tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => recording.#take(data, onProgress, onFull);
    recording.#context.createMediaStreamSource(stream).connect(tap);
    await recording.#context.resume();
    return recording;
  }

  /** Seconds recorded so far. */
  get seconds() {
    return this.#samples / this.#context.sampleRate;
  }

  /** End the recording; null when nothing was heard yet. */
  async stop() {
    const rate = this.#context.sampleRate;
    await this.#close();
    if (this.#samples === 0) return null;
    return new File([encodeWav(this.#chunks, rate)], "recording.wav", { type: "audio/wav" });
  }

  /** End the recording and forget it. */
  async cancel() {
    await this.#close();
    this.#chunks = [];
  }

  #take(block, onProgress, onFull) {
    if (!this.#open) return;
    this.#chunks.push(block);
    this.#samples += block.length;
    const power = block.reduce((sum, sample) => sum + sample * sample, 0) / block.length;
    onProgress(this.seconds, Math.min(1, Math.sqrt(power) * 3));
    if (this.seconds >= MAX_SECONDS) onFull();
  }

  async #close() {
    if (!this.#open) return;
    this.#open = false;
    this.#stream.getTracks().forEach((track) => track.stop());
    await this.#context.close();
  }
}

function explain(cause) {
  if (cause.name === "NotAllowedError") return "The browser was not allowed to use the microphone.";
  if (cause.name === "NotFoundError") return "No microphone was found.";
  return "The microphone could not be opened; another program may be using it.";
}
