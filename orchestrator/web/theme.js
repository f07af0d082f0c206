// The theme button: system -> light -> dark -> system.

const ORDER = ["system", "light", "dark"];

/** Wire the button; its visible text says which theme holds. */
export function mountTheme(button, label) {
  const root = document.documentElement;
  const show = () => {
    const theme = root.dataset.theme ?? "system";
    label.textContent = `Theme: ${theme}`;
  };
  button.addEventListener("click", () => {
    const next = ORDER[(ORDER.indexOf(root.dataset.theme ?? "system") + 1) % ORDER.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    remember(next);
    show();
  });
  show();
}

function remember(theme) {
  try {
    if (theme === "system") localStorage.removeItem("theme");
    else localStorage.setItem("theme", theme);
  } catch {
    // Storage is refused: the choice lasts as long as the page.
  }
}
