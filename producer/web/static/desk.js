// Searches entries without losing the answer being written, and submits with Ctrl+Enter.
// Without this script, a search reloads the page.
const search = document.querySelector("[data-search]");
const answer = document.querySelector("#answer textarea");

search?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const url = `${location.pathname}?${new URLSearchParams(new FormData(search))}`;
  const response = await fetch(url);
  if (!response.ok) return location.assign(url);
  const loaded = new DOMParser().parseFromString(await response.text(), "text/html");
  const selector = search.dataset.search;
  document.querySelector(selector).replaceWith(loaded.querySelector(selector));
});

answer?.addEventListener("keydown", (event) => {
  const submits = event.key === "Enter" && (event.ctrlKey || event.metaKey);
  if (submits) answer.form.requestSubmit(answer.form.querySelector("button"));
});
