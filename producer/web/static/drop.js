// Accepts a file that is dropped on the frame. Without this script, the file input works.
const frame = document.querySelector("[data-drop]");
const input = frame.querySelector("input[type=file]");

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
  if (event.dataTransfer.files.length) input.files = event.dataTransfer.files;
  input.focus();
});
