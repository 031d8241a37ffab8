// A file may be dropped anywhere on the frame; choosing one works without this script.
const frame = document.querySelector("[data-drop]");
const chosen = frame.querySelector("input[type=file]");

for (const name of ["dragenter", "dragover"]) {
  frame.addEventListener(name, (event) => {
    event.preventDefault();
    frame.classList.add("over");
  });
}
for (const name of ["dragleave", "drop"]) {
  frame.addEventListener(name, () => frame.classList.remove("over"));
}
frame.addEventListener("drop", (event) => {
  event.preventDefault();
  if (event.dataTransfer.files.length) chosen.files = event.dataTransfer.files;
  chosen.focus();
});
