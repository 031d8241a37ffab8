// Shows progress live. Without this script, the page shows the progress when it was loaded.
const followed = document.querySelector("[data-events]");
const parts = ["answered", "handed_off", "failed", "cancelled", "expired", "running"];
const units = [["d", 86400], ["h", 3600], ["min", 60]];

const duration = (seconds) => {
  const [unit, length] = units.find(([, size]) => seconds >= 2 * size) ?? ["s", 1];
  return `${Math.round(seconds / length)} ${unit}`;
};

const formats = {
  eta_seconds: (value) => (value === null ? "–" : duration(value)),
  questions_per_second: (value) =>
    (value ?? 0).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 }),
};
const formatCount = (value) => value.toLocaleString("en");

function show(card, batch) {
  for (const field of card.querySelectorAll("[data-field]")) {
    const name = field.dataset.field;
    field.textContent = (formats[name] ?? formatCount)(batch[name]);
  }
  let start = 0;
  for (const name of parts) {
    const share = (100 * batch[name]) / Math.max(batch.questions, 1);
    const rect = card.querySelector(`[data-part="${name}"]`);
    rect.setAttribute("x", start);
    rect.setAttribute("width", share);
    start += share;
  }
}

// The server renders what changes at the end of a batch: labels, results and buttons.
async function reload() {
  const response = await fetch(location.href);
  if (!response.ok) return;
  const loaded = new DOMParser().parseFromString(await response.text(), "text/html");
  const focused = document.activeElement?.id;
  document.querySelector("main").replaceWith(loaded.querySelector("main"));
  if (focused) document.getElementById(focused)?.focus();
}

if (followed) {
  const source = new EventSource(followed.dataset.events);
  const unfinished = new Set(new URL(followed.dataset.events, location).searchParams.getAll("batch"));
  const receive = (event) => {
    const batch = JSON.parse(event.data);
    const card = document.querySelector(`[data-batch="${batch.batch}"]`);
    if (card) show(card, batch);
    return batch;
  };
  source.addEventListener("progress", receive);
  source.addEventListener("end", (event) => {
    unfinished.delete(String(receive(event).batch));
    if (unfinished.size === 0) source.close();
    reload();
  });
}
