// The microphone button and the strip shown while it records.

import { setError } from "./errors.js";
import { formatClock } from "./format.js";
import { MAX_SECONDS, RecordingError, startRecording } from "./recorder.js";

export class RecordPanel {
  #view;
  #onRecorded;
  #recording = null;
  #opening = false;

  /**
   * @param {Object} view {button, panel, level, time, stop, cancel, error}: elements of the page
   * @param {(file: File) => void} onRecorded
   */
  constructor(view, onRecorded) {
    this.#view = view;
    this.#onRecorded = onRecorded;
    view.button.addEventListener("click", () => (this.#recording ? this.#finish() : this.#start()));
    view.stop.addEventListener("click", () => this.#finish());
    view.cancel.addEventListener("click", () => this.cancel());
  }

  get active() {
    return this.#recording !== null;
  }

  async cancel() {
    const recording = this.#take();
    await recording?.cancel();
  }

  async #start() {
    if (this.#opening) return;
    this.#opening = true;
    setError(this.#view.error, null);
    try {
      this.#recording = await startRecording({
        onProgress: (seconds, level) => this.#show(seconds, level),
        onFull: () => this.#finish(),
      });
    } catch (error) {
      if (!(error instanceof RecordingError)) throw error;
      setError(this.#view.error, error);
      return;
    } finally {
      this.#opening = false;
    }
    this.#show(0, 0);
    this.#view.panel.hidden = false;
    this.#view.button.setAttribute("aria-pressed", "true");
    this.#view.stop.focus();
  }

  async #finish() {
    const recording = this.#take();
    const file = await recording?.stop();
    if (file) this.#onRecorded(file);
    else if (recording) setError(this.#view.error, new RecordingError("Nothing was recorded; try again."));
  }

  /** Claim the recording, so that two ways of ending it cannot both run. */
  #take() {
    const recording = this.#recording;
    if (recording === null) return null;
    this.#recording = null;
    this.#view.panel.hidden = true;
    this.#view.button.setAttribute("aria-pressed", "false");
    this.#view.button.focus();
    return recording;
  }

  #show(seconds, level) {
    this.#view.level.value = level;
    this.#view.time.textContent = `${formatClock(seconds)} of ${formatClock(MAX_SECONDS)}`;
  }
}
