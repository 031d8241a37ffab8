// Searches entries beside what is being written, and sends with Ctrl+Enter; without this script
// a search loads the page anew.
const search = document.querySelector("[data-search]");
const writing = document.querySelector("#answer textarea");

search?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const url = `${location.pathname}?${new URLSearchParams(new FormData(search))}`;
  const answer = await fetch(url);
  if (!answer.ok) return location.assign(url);
  const found = new DOMParser().parseFromString(await answer.text(), "text/html");
  const picks = search.dataset.search;
  document.querySelector(picks).replaceWith(found.querySelector(picks));
});

writing?.addEventListener("keydown", (event) => {
  const sends = event.key === "Enter" && (event.ctrlKey || event.metaKey);
  if (sends) writing.form.requestSubmit(writing.form.querySelector("button"));
});
