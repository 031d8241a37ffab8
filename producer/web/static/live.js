// Shows progress as it comes; without this script the page shows it when it is loaded.
const followed = document.querySelector("[data-events]");
const parts = ["answered", "handed_off", "failed", "cancelled", "expired", "running"];
const units = [["d", 86400], ["h", 3600], ["min", 60]];

const duration = (seconds) => {
  const [unit, length] = units.find(([, size]) => seconds >= 2 * size) ?? ["s", 1];
  return `${Math.round(seconds / length)} ${unit}`;
};

const written = {
  eta_seconds: (value) => (value === null ? "–" : duration(value)),
  questions_per_second: (value) =>
    (value ?? 0).toLocaleString("en", { minimumFractionDigits: 1, maximumFractionDigits: 1 }),
};

function show(place, batch) {
  for (const field of place.querySelectorAll("[data-field]")) {
    const name = field.dataset.field;
    field.textContent = (written[name] ?? ((value) => value.toLocaleString("en")))(batch[name]);
  }
  let at = 0;
  for (const name of parts) {
    const share = (100 * batch[name]) / Math.max(batch.questions, 1);
    const drawn = place.querySelector(`[data-part="${name}"]`);
    drawn.setAttribute("x", at);
    drawn.setAttribute("width", share);
    at += share;
  }
}

// What is final is shown as the server writes it: words, results and all.
async function renew() {
  const answer = await fetch(location.href);
  if (!answer.ok) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const kept = document.activeElement?.id;
  document.querySelector("main").replaceWith(fresh.querySelector("main"));
  if (kept) document.getElementById(kept)?.focus();
}

if (followed) {
  const source = new EventSource(followed.dataset.events);
  const waiting = new Set(new URL(followed.dataset.events, location).searchParams.getAll("batch"));
  const hear = (event) => {
    const batch = JSON.parse(event.data);
    const place = document.querySelector(`[data-batch="${batch.batch}"]`);
    if (place) show(place, batch);
    return batch;
  };
  source.addEventListener("progress", hear);
  source.addEventListener("end", (event) => {
    waiting.delete(String(hear(event).batch));
    if (waiting.size === 0) source.close();
    renew();
  });
}
