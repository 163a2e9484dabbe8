// Report files that are too large, which Gradio drops silently. `most` is in MB.
(most) => {
  function refuse(event) {
    const files = [...(event.dataTransfer?.files ?? event.target.files ?? [])];
    const large = files.find((file) => file.size > most * 2 ** 20);
    if (!large) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    if (event.type === "change") event.target.value = "";
    document.querySelectorAll(".status").forEach((status) => {
      status.className = "status bad";
      status.querySelector("span").textContent = `${large.name} is larger than ${most} MB; choose a smaller file.`;
    });
  }
  document.addEventListener("change", refuse, true);
  document.addEventListener("drop", refuse, true);
}
