// Files that arrive by drag and drop or from the clipboard, anywhere on the page.

/** Show `overlay` while files are dragged over the page; hand dropped files on. */
export function mountDrop(overlay, onFiles) {
  let depth = 0; // enter and leave fire for every element on the way
  const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
  const close = () => {
    depth = 0;
    overlay.hidden = true;
  };
  document.addEventListener("dragenter", (event) => {
    if (!carriesFiles(event)) return;
    depth += 1;
    overlay.hidden = false;
  });
  document.addEventListener("dragleave", (event) => {
    if (!carriesFiles(event)) return;
    depth -= 1;
    if (depth <= 0) close();
  });
  document.addEventListener("dragover", (event) => {
    if (carriesFiles(event)) event.preventDefault(); // otherwise the browser opens the file
  });
  document.addEventListener("drop", (event) => {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    close();
    onFiles([...event.dataTransfer.files]);
  });
}

/** Hand on pasted files; pasted text goes where it always goes. */
export function mountPaste(onFiles) {
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length === 0) return;
    event.preventDefault();
    onFiles(files);
  });
}
